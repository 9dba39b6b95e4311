"""A real IMAP server (pymap, in memory) in a process of its own, and a relay in front of it.

The relay shows what a client asked for, and can cut the connection in the middle of an answer.
"""

import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from imap_tools import BaseMailBox, MailBoxUnencrypted
from pydantic import SecretStr

from ingest_pipeline.sources.imap_account import ImapAccount, parse_imap_url

USER, PASSWORD = "ana@vela.example", "se cret"
# Its 500,000 rounds of password hashing would take most of the tests' time.
_PYMAP = """
from pysasl.hashing import BuiltinHash
BuiltinHash.__init__.__kwdefaults__["rounds"] = 1
from pymap.main import main
main()
"""
_COMMAND = re.compile(rb"^\w+ (?:UID )?(\w+)", re.IGNORECASE)


class Relay(socketserver.ThreadingTCPServer):
    """``asked`` lists the lines of clients. After ``cut_after`` more bytes of answers the connection is cut once."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, server_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relayed)
        self.server_port = server_port
        self.asked: list[bytes] = []
        self.cut_after: int | None = None

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def commands(self) -> list[str]:
        """The commands asked for since the last call, UID left out."""
        names = [match[1].decode().upper() for line in self.asked if (match := _COMMAND.match(line))]
        self.asked.clear()
        return names


class _Relayed(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.server_port)) as upstream:
            answers = threading.Thread(target=self._answer, args=(upstream,), daemon=True)
            answers.start()
            while asked := self._received(self.request):
                self.server.asked += asked.splitlines()
                upstream.sendall(asked)
            self._end(upstream)
            answers.join()

    def _answer(self, upstream: socket.socket) -> None:
        while data := self._received(upstream):
            left = self.server.cut_after
            if left is not None and len(data) >= left:
                self.server.cut_after = None
                self.request.sendall(data[:left])
                break
            if left is not None:
                self.server.cut_after = left - len(data)
            self.request.sendall(data)
        self._end(self.request)
        self._end(upstream)

    @staticmethod
    def _received(connection: socket.socket) -> bytes:
        try:
            return connection.recv(65_536)
        except OSError:
            return b""

    @staticmethod
    def _end(connection: socket.socket) -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was quicker


@contextmanager
def imap_server() -> Iterator[int]:
    """The port of a running server that knows USER."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [
        sys.executable,
        "-c",
        _PYMAP,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-tls",
        "--no-service",
        "managesieve",
        "dict",
    ]
    process = subprocess.Popen(
        [*command, "--demo-user", USER, "--demo-password", PASSWORD], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _await(process, port)
        yield port
    finally:
        process.terminate()
        process.communicate()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    pause = threading.Event()
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        pause.wait(0.05)
    process.terminate()
    raise RuntimeError(f"pymap does not start: {process.communicate()[1].decode()[-500:]}")


@contextmanager
def logged_in(port: int) -> Iterator[BaseMailBox]:
    """The account at the server itself, to fill its folders."""
    with MailBoxUnencrypted("127.0.0.1", port).login(USER, PASSWORD) as box:
        yield box


def account(port: int, *folders: str, password: str = PASSWORD) -> ImapAccount:
    """USER's account as configured."""
    server = parse_imap_url(f"imap://{USER.replace('@', '%40')}@127.0.0.1:{port}/")
    return ImapAccount(server, SecretStr(password), folders)

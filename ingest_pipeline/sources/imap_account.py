"""An IMAP account as configured: ``imaps://user@host:port/``, the password and the folders beside it."""

import hashlib
import ipaddress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

PORTS = {"imaps": 993, "imap": 143}


@dataclass(frozen=True, slots=True)
class ImapServer:
    """Where an account is. Without ``tls`` only on this machine."""

    host: str
    port: int
    user: str = field(repr=False)
    tls: bool


@dataclass(frozen=True, slots=True)
class ImapAccount:
    """The account to pull mail from, and which of its folders."""

    server: ImapServer
    password: SecretStr
    folders: tuple[str, ...]

    def file_name(self, folder: str) -> str:
        """What stands for a folder where files of the inbox have their path; the user's name is not in it."""
        server = self.server
        user = hashlib.sha256(server.user.encode()).hexdigest()[:12]
        port = "" if server.port in PORTS.values() else f":{server.port}"
        return f"imap/{server.host}{port}/{user}/{folder}"


def parse_imap_url(url: str) -> ImapServer:
    """The server and user of ``imaps://user@host:port/``. Raises ValueError saying what to write."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the port must be a number: imaps://user@host:993/") from None
    host, user = parts.hostname, unquote(parts.username or "")
    if parts.scheme not in PORTS or not host or not user or parts.path.strip("/") or parts.query:
        raise ValueError("write imaps://user@host:port/ with the user's @ as %40; folders go into INGEST_IMAP_FOLDERS")
    if parts.password is not None:
        raise ValueError("the password goes into INGEST_IMAP_PASSWORD, not into the address")
    if parts.scheme == "imap" and not _is_loopback(host):
        raise ValueError("imap:// is not encrypted and only for this machine; write imaps://")
    return ImapServer(host, port or PORTS[parts.scheme], user, parts.scheme == "imaps")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

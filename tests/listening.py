"""The application on a port of its own, for tests of what only a real connection shows."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from ingest_pipeline.api.application import create_app
from ingest_pipeline.settings import Settings
from tests.serving import KEY


@contextmanager
def listening(database_url: str, home: Path, **settings: object) -> Iterator[tuple[str, FastAPI]]:
    """(address, application), served by uvicorn in a thread as `ingest serve` does in a process."""
    app = create_app(Settings(home=home, database_url=database_url, api_key=KEY, **settings))  # type: ignore[arg-type]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                thread.join(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", app
        finally:
            server.should_exit = True
            thread.join()

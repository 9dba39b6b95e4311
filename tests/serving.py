"""The application in this process, for tests of its routes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi.testclient import TestClient

from ingest_pipeline.api.application import create_app
from ingest_pipeline.settings import Settings

KEY = "sesame"


@contextmanager
def serving(database_url: str, home: Path, key: str | None = KEY, **settings: object) -> Iterator[TestClient]:
    """A client that sends the key."""
    app = create_app(Settings(home=home, database_url=database_url, api_key=key, **settings))  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # Without a key no other name is answered to.
    with TestClient(app, "http://localhost", headers=headers, raise_server_exceptions=False) as client:
        yield client

"""``ingest serve``: the HTTP server."""

import ipaddress
from typing import Annotated

import typer

from ingest_pipeline.cli.app import app, opened, say
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.settings import Settings, load_settings


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on; beyond loopback only with INGEST_API_KEY.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes; limits hold over all of them.")] = 1,
) -> None:
    """Serve the viewer, the ingest endpoint, the profile API and the LLM proxy."""
    import uvicorn

    from ingest_pipeline.api import logs

    settings = load_settings()
    check_host(host, settings)
    with opened():  # what would fail in each worker fails here, with one line
        pass
    say(f"http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C ends it)")
    uvicorn.run(
        "ingest_pipeline.api.application:from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=logs.CONFIG,
        log_level="warning",
        # Paths hold profile ids and identifiers.
        access_log=False,
        server_header=False,
        # What is streamed at the end may take that long.
        timeout_graceful_shutdown=30,
        # X-Forwarded-For is read by the guard, from proxies that are trusted.
        proxy_headers=False,
    )


def check_host(host: str, settings: Settings) -> None:
    """Personal data is not offered to a network without a key."""
    if settings.api_key is not None:
        return
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback:
        raise ConfigurationError(f"listening on {host} needs INGEST_API_KEY; set it, or use --host 127.0.0.1")

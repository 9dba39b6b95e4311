"""The application: settings → FastAPI. Made once per worker process."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI

from ingest_pipeline.api import batches, chat, errors, health, ingesting, openapi, profiles
from ingest_pipeline.api.guard import Guard
from ingest_pipeline.api.pages import viewer
from ingest_pipeline.api.paths import SlashesInIds
from ingest_pipeline.api.services import open_services
from ingest_pipeline.proxy.service import ChatProxy
from ingest_pipeline.settings import Settings, load_settings, warn_of_unknown_variables

SWITCH_INTERVAL_S = 0.0005

THREADS = 64
"""Requests that are worked on at once in one process with a model; each waits for the provider most of the time."""

THREADS_OFFLINE = 8
"""The same without a model: they wait for the database and for each other, and more of them would only take the
interpreter away from the one that is writing (64 clients: a text takes 15 % more CPU with 64 threads than with 8)."""


def create_app(settings: Settings) -> FastAPI:
    """The application; what it needs is opened when it starts and closed when it stops."""
    threads = THREADS_OFFLINE if settings.model == "offline" else THREADS

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # At every statement SQLite's driver lets go of the interpreter; whoever takes it then keeps it that long
        # (measured: a tenth more reads per second than with Python's 5 ms). So would each step of a proxy's answer wait
        # behind an extraction that is under way.
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads
        app.state.services = await anyio.to_thread.run_sync(open_services, settings)
        app.state.proxy = ChatProxy(app.state.services.pipeline)
        await anyio.to_thread.run_sync(app.state.proxy.start)
        try:
            with viewer.opened(app, settings):
                yield
        finally:
            await app.state.proxy.close()
            await anyio.to_thread.run_sync(app.state.services.close)

    # The pages that FastAPI has for its document load their scripts from elsewhere: ``pages.calls`` has one of our own.
    app = FastAPI(
        title="Ingest pipeline",
        version=version("ingest-pipeline"),
        description="Text in, profiles out: traits and memories, each with the sentence that proves it.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    errors.install(app)
    for part in (health, ingesting, batches, profiles, chat):
        app.include_router(part.router)
    viewer.install(app)
    openapi.install(app)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    app.add_middleware(Guard, api_key=key, trusted_proxies=settings.trusted_proxies)
    app.add_middleware(SlashesInIds)
    return app


def from_environment() -> FastAPI:
    """For uvicorn's worker processes."""
    warn_of_unknown_variables()
    return create_app(load_settings())

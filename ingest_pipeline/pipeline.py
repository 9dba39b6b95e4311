"""The core's composition: settings → an open pipeline. Knows nothing of Dagster."""

from dataclasses import dataclass

from sqlalchemy import Engine

from ingest_pipeline.erasure_key import FILE, ErasureKey
from ingest_pipeline.extraction.base import Extractor
from ingest_pipeline.extraction.traits import TraitSchema, load_traits
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.erased import watch_erased


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything that the command line and the API need of the core. Safe to use from several threads."""

    settings: Settings
    engine: Engine
    schema: TraitSchema
    extractor: Extractor

    def close(self) -> None:
        self.extractor.close()
        self.engine.dispose()


def open_pipeline(settings: Settings, create: bool = True) -> Pipeline:
    """Open database, trait schema and extractor. Raises ConfigurationError with one line that says what to do."""
    schema = load_traits(settings.traits)
    engine = open_store(settings, create)
    extractor = open_extractor(settings, schema, engine)
    extractor.check()
    return Pipeline(settings, engine, schema, extractor)


def open_store(settings: Settings, create: bool = True) -> Engine:
    """The database, made if need be with ``create``, with what keeps erased people out. Raises StoreUnavailable."""
    engine = open_engine(settings.database_url, create)
    watch_erased(engine, ErasureKey(settings.erasure_key, settings.home / FILE))
    return engine


def open_extractor(settings: Settings, schema: TraitSchema, engine: Engine) -> Extractor:
    """The extractor that INGEST_MODEL names; its ``check`` tells whether there is such a model."""
    if settings.model == "offline":
        from ingest_pipeline.extraction.offline import OfflineExtractor

        return OfflineExtractor(schema, settings.timezone)
    from ingest_pipeline.extraction.llm import open_llm_extractor

    return open_llm_extractor(settings, schema, engine)


def extractor_threads(settings: Settings) -> int:
    """How many extractions run at once in one process.

    The offline extractor is Python code that holds the interpreter: more threads would only wait for each other.
    """
    return 1 if settings.model == "offline" else settings.max_concurrency

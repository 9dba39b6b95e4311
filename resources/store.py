"""The database as a resource."""

import dagster as dg
from pydantic import PrivateAttr
from sqlalchemy import Engine

from ingest_pipeline.embedding import Embedder, open_embedder
from ingest_pipeline.extraction.traits import TraitSchema, load_traits
from ingest_pipeline.folding import Embed
from ingest_pipeline.pipeline import open_store
from ingest_pipeline.settings import Settings, load_settings
from ingest_pipeline.states import Rules
from ingest_pipeline.summarising import Summariser, open_summariser
from resources.failures import reported


class StoreResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The store of INGEST_DATABASE_URL with the trait schema of INGEST_TRAITS. Opened once per process and run."""

    _settings: Settings | None = PrivateAttr(default=None)
    _engine: Engine | None = PrivateAttr(default=None)
    _traits: TraitSchema | None = PrivateAttr(default=None)
    _embedder: Embedder | None = PrivateAttr(default=None)
    _summariser: Summariser | None = PrivateAttr(default=None)

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            with reported():
                self._settings = load_settings()
        return self._settings

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            with reported():
                self._engine = open_store(self.settings)
        return self._engine

    @property
    def trait_schema(self) -> TraitSchema:
        if self._traits is None:
            with reported():
                self._traits = load_traits(self.settings.traits)
        return self._traits

    @property
    def fold_rules(self) -> Rules:
        with reported():
            return self.settings.fold_rules()

    @property
    def embed(self) -> Embed | None:
        """The vectors of INGEST_EMBEDDING_MODEL, when there is one."""
        if self.settings.embedding_model is None:
            return None
        if self._embedder is None:
            with reported():
                self._embedder = open_embedder(self.settings, self.engine)
        return self._embedder.vectors if self._embedder else None

    @property
    def summariser(self) -> Summariser | None:
        """What writes summaries when INGEST_SUMMARY=llm."""
        if self._summariser is None:
            with reported():
                self._summariser = open_summariser(self.settings, self.trait_schema, self.engine)
        return self._summariser

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        if self._embedder is not None:
            self._embedder.close()
            self._embedder = None
        if self._summariser is not None:
            self._summariser.close()
            self._summariser = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

"""The rate-limited LLM as a resource: an extractor whose limits hold across threads, processes and machines."""

import dagster as dg
from pydantic import PrivateAttr

from ingest_pipeline.extraction.base import Extractor
from ingest_pipeline.pipeline import extractor_threads, open_extractor
from ingest_pipeline.settings import Settings, load_settings
from resources.failures import reported
from resources.store import StoreResource


class LlmResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The extractor of INGEST_MODEL. Set fields override the environment for one run, as in the launchpad.

    The limits' state is in the shared database, so runs, steps, the command line and the API share one allowance.
    """

    store: dg.ResourceDependency[StoreResource]
    model: str | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_concurrency: int | None = None
    budget_usd: float | None = None

    _extractor: Extractor | None = PrivateAttr(default=None)

    @property
    def settings(self) -> Settings:
        fields = ("model", "rpm", "tpm", "max_concurrency", "budget_usd")
        overrides = {name: getattr(self, name) for name in fields if getattr(self, name) is not None}
        with reported():
            return load_settings(**overrides)

    @property
    def extractor(self) -> Extractor:
        if self._extractor is None:
            with reported():
                extractor = open_extractor(self.settings, self.store.trait_schema, self.store.engine)
                extractor.check()
            self._extractor = extractor
        return self._extractor

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        if self._extractor is not None:
            self._extractor.close()
            self._extractor = None

    @property
    def threads(self) -> int:
        """How many extractions of one step go on at once."""
        return extractor_threads(self.settings)

"""The core's composition: settings → an open pipeline that reads, extracts and folds. Knows nothing of Dagster."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from ingest_pipeline.documents import Source
from ingest_pipeline.extracting import KeyOutcome, extract_pending
from ingest_pipeline.extraction.base import Extractor
from ingest_pipeline.extraction.traits import TraitSchema, load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.reading import Progress, ReadReport, read_source
from ingest_pipeline.settings import Settings
from ingest_pipeline.sources.inbox import open_inbox
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.extractions import Reextract, Selection
from ingest_pipeline.store.profiles import Folded


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything a run needs. Safe to use from several threads."""

    settings: Settings
    engine: Engine
    schema: TraitSchema
    extractor: Extractor

    def read(self, source: Source, run_id: str | None = None, progress: Progress = lambda _n, _u: None) -> ReadReport:
        """Read what is new in one source's folder of the inbox. Raises ConfigurationError when there is no inbox."""
        inbox = open_inbox(self.settings.inbox)
        return read_source(self.engine, inbox, source, self.settings.read_options(), run_id, progress)

    def selection(
        self,
        reextract: Reextract = Reextract.MISSING,
        sources: Sequence[Source] = (),
        profiles: Sequence[str] = (),
    ) -> Selection:
        return Selection(self.extractor.fingerprint, reextract, frozenset(sources), frozenset(profiles))

    def extract(self, selection: Selection, run_id: str | None = None) -> Iterator[KeyOutcome]:
        """Extract the selected documents, one outcome per profile × source."""
        # The offline extractor is Python code that holds the interpreter: more threads would only wait for each other.
        threads = 1 if self.extractor.model == "offline" else self.settings.max_concurrency
        return extract_pending(self.engine, self.extractor, selection, threads, run_id)

    def fold(self, profiles: Sequence[str] | None = None) -> Iterator[Folded]:
        """Fold the profiles whose observations changed, or the given ones in any case."""
        return fold_profiles(self.engine, self.schema, profiles)

    def close(self) -> None:
        self.engine.dispose()


def open_pipeline(settings: Settings) -> Pipeline:
    """Open database, trait schema and extractor. Raises ConfigurationError with one line that says what to do."""
    schema = load_traits(settings.traits)
    engine = open_engine(settings.database_url)
    return Pipeline(settings, engine, schema, open_extractor(settings, schema, engine))


def open_extractor(settings: Settings, schema: TraitSchema, engine: Engine) -> Extractor:
    """The extractor that INGEST_MODEL names."""
    if settings.model == "offline":
        from ingest_pipeline.extraction.offline import OfflineExtractor

        return OfflineExtractor(schema)
    from ingest_pipeline.extraction.llm import open_llm_extractor

    return open_llm_extractor(settings, schema, engine)

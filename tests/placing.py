"""An inbox that tests fill and read."""

import fsspec
from sqlalchemy import Engine

from ingest_pipeline.changes import ReadReport
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.reading import read_source
from ingest_pipeline.sources.base import Reader
from ingest_pipeline.sources.inbox import open_inbox
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.tables import DocumentRow
from tests.builders import rows
from tests.format_samples import OPTIONS, Files


class Place:
    """An inbox somewhere, with files that can be put and taken."""

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine = engine
        self.url = url
        self.fs, self.root = fsspec.core.url_to_fs(url)

    def put(self, reader: Reader, files: Files, folder: str = "acme") -> None:
        for name, content in files.items():
            path = f"{self.root}/{reader.source}/{folder}/{name}"
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(path, content)

    def take_away(self, reader: Reader) -> None:
        self.fs.rm(f"{self.root}/{reader.source}", recursive=True)
        self.fs.makedirs(f"{self.root}/{reader.source}", exist_ok=True)

    def read(self, reader: Reader) -> ReadReport:
        return read_source(self.engine, open_inbox(self.url), reader.source, OPTIONS)

    def texts(self) -> list[str]:
        """Of the current documents."""
        return sorted(row.text for row in rows(self.engine, DocumentRow) if row.superseded_at is None)

    def extract_and_fold(self) -> None:
        schema = load_traits(None)
        extractor = OfflineExtractor(schema)
        list(extract_pending(self.engine, extractor, Selection(extractor.fingerprint)))
        list(fold_profiles(self.engine, schema))

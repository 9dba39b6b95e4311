"""Extractors around another one, for tests of what becomes of failures."""

from ingest_pipeline.extraction.base import Extractor


class Around:
    """Passes for the extractor ``inside``, which whoever made it closes."""

    inside: Extractor

    @property
    def model(self) -> str:
        return self.inside.model

    @property
    def fingerprint(self) -> str:
        return self.inside.fingerprint

    def check(self) -> None: ...

    def close(self) -> None: ...

"""The server's log: where something failed, and nothing that anybody wrote."""

import logging
import logging.config
import sys
from collections.abc import Iterator

import pytest

from ingest_pipeline.api.logs import CONFIG, FRAMES, Places

WHO = "Ana Ferreira"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """As a server process has it; afterwards as it was."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    logging.config.dictConfig(CONFIG)
    yield root
    root.handlers[:], root.level = before


def look_up(names: dict[str, int], name: str) -> int:
    try:
        return names[name]
    except KeyError as error:
        raise ValueError(f"no number of {name}") from error


def deep(n: int) -> int:
    return look_up({}, WHO) if n == 0 else deep(n - 1)


def test_an_unforeseen_error_is_told_without_its_words(root: logging.Logger) -> None:
    """With its causes and the calls that led to them, the last ones of many."""
    (handler,) = (each for each in root.handlers if isinstance(each.formatter, Places))
    try:
        deep(200)
    except ValueError:
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "it failed", (), sys.exc_info())
    text = handler.format(record)
    assert text.startswith("ERROR uvicorn.error: it failed\n")
    assert [line for line in text.splitlines() if line.endswith("Error")] == ["ValueError", "KeyError"]
    assert text.count("in look_up") == 2
    assert "Ferreira" not in text
    assert text.count("in deep") <= FRAMES

"""The console on stdout, for terminals, pipes and files."""

import os
import re
import sys

from rich.console import Console
from rich.text import Text

_PIPED_WIDTH = 160
"""Columns where no terminal says how many there are: wide enough that a row stays on one line for ``grep``."""


class OutputConsole(Console):
    """When its reader goes away, as ``| head`` does, the rest is dropped and work goes on: a sync is not broken off."""

    def __init__(self) -> None:
        known = sys.stdout.isatty() or "COLUMNS" in os.environ
        super().__init__(width=None if known else _PIPED_WIDTH)

    def on_broken_pipe(self) -> None:
        drop_stdout()


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str, style: str = "") -> Text:
    """Text of a document as text: no markup, no control characters, each character in its place."""
    return Text(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text), style=style)


def write(text: str) -> None:
    """Write to stdout as it is."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()


def drop_stdout() -> None:
    """Nobody reads any more; without this the interpreter complains when it flushes on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tolerate_any_encoding() -> None:
    """A character that the terminal's encoding lacks is shown escaped instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # both are text files

"""Deciding by hand: what a person may do to a profile's facts. One function per decision; all survive whatever is read,
extracted or folded later, and each returns the fact before and after.

``checks`` says what may be written, ``traits`` and ``memories`` what a decision records, ``base`` carries it out,
``standing`` tells which earlier decisions still hold.
"""

from ingest_pipeline.editing.base import Decided, Editor
from ingest_pipeline.editing.checks import check_confidence, check_value
from ingest_pipeline.editing.facts import clear, confirm, reject, unreject
from ingest_pipeline.editing.memories import add_memory, delete_memory, revise_memory
from ingest_pipeline.editing.summary import clear_summary, set_summary
from ingest_pipeline.editing.traits import delete_trait, set_trait

__all__ = [
    "Decided",
    "Editor",
    "add_memory",
    "check_confidence",
    "check_value",
    "clear",
    "clear_summary",
    "confirm",
    "delete_memory",
    "delete_trait",
    "reject",
    "revise_memory",
    "set_summary",
    "set_trait",
    "unreject",
]

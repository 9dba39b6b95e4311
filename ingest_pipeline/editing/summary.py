"""Decisions about the summary."""

from ingest_pipeline.documents import Json
from ingest_pipeline.editing.base import Decided, Editor, Held, decide
from ingest_pipeline.editing.checks import check_summary
from ingest_pipeline.edits import Action, Target
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.store.audit_log import Audited
from ingest_pipeline.store.edits import Draft

KEY = "summary"
"""What edits of the summary have for a key."""


def set_summary(editor: Editor, profile_id: str, text: Json) -> Decided:
    """Write the summary; it stays until it is written again or cleared.

    Raises InvalidInput: ``missing_summary``, ``invalid_summary``.
    """
    draft = Draft(Action.SET, Target.SUMMARY, KEY, value=check_summary(text))
    return decide(editor, profile_id, Audited.SET, lambda _: [draft])


def clear_summary(editor: Editor, profile_id: str) -> Decided:
    """Let the summary be made from the facts again. Raises InvalidInput (``nothing_to_clear``)."""

    def plan(held: Held) -> list[Draft]:
        if held.standing.summary is None:
            raise InvalidInput("nothing_to_clear", "the summary was not written by hand")
        return [Draft(Action.CLEAR, Target.SUMMARY, KEY)]

    return decide(editor, profile_id, Audited.CLEAR, plan)

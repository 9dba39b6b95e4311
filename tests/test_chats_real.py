"""All real chat exports in one inbox: the counts that were checked by other means; nothing to do the second time."""

import shutil
from collections import Counter
from pathlib import Path

from sqlalchemy import Engine

from ingest_pipeline.documents import Source
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.store.audits import audit_evidence
from ingest_pipeline.store.tables import DocumentRow, Rejection
from tests.builders import rows
from tests.syncing import sync

FOLDERS = ("slack", "whatsapp", "telegram", "facebook_instagram", "msteams", "chatgpt", "claude")
MESSAGES = {"slack": 49, "whatsapp": 44 + 5 * 6, "telegram": 2 * 2, "msteams": 2 + 1, "chatgpt": 2 * 3, "claude": 1}
MESSAGES |= {"instagram": 2}


def test_real_chats(engine: Engine, real_fixtures: Path, tmp_path: Path) -> None:
    """The users list tells of people and has no text; the one file that is no export is said to be none."""
    for folder in FOLDERS:
        shutil.copytree(real_fixtures / folder, tmp_path / "chat" / folder)
    for answers in tmp_path.rglob("target.json"):
        answers.unlink()
    synced = sync(engine, tmp_path, options=ReadOptions())
    (report,) = (report for report in synced.read if report.source is Source.CHAT)
    assert report.counts.units["conversation_day"] == sum(MESSAGES.values())
    assert rows(engine, Rejection) == []
    documents = rows(engine, DocumentRow)
    found: Counter[str] = Counter()
    for row in documents:
        found[row.origin] += sum(1 for segment in row.segments if segment["role"] == "subject")
    # The conversations of the ChatGPT file stand in the zip, too, with another account as owner.
    assert found == MESSAGES
    assert all(row.profile_id for row in documents)
    assert (audit_evidence(engine).without, audit_evidence(engine).wrong) == (0, 0)
    again = sync(engine, tmp_path, options=ReadOptions())
    assert [report.files for report in again.read] == [0, 0, 0]
    assert again.extracted == []

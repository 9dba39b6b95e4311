"""The whole core over real files: the counts that were checked by other means, and nothing to do the second time."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ingest_pipeline.documents import Source
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.store.audits import audit_evidence, count_failed, count_invalid_values
from ingest_pipeline.store.tables import DocumentRow, IdentifierRow, Profile, Rejection
from tests.builders import rows
from tests.syncing import Synced, sync

FILES = {
    "crm/workshop": "salesforce/SFDC-Assets__data-cloud-workshop/data",
    "crm/button": "salesforce/SFDC-Assets__TLDR-Button/data",
    "email/httpd.mbox": "email_mbox/apache__incubator-ponymail-unit-tests/httpd-users-2020-07.mbox",
    "email/asterix.mbox": "email_mbox/apache__incubator-ponymail-unit-tests/asterix-dev-201709-mailarchivesao.mbox",
    "chat/slack.zip": "slack/hfaran__slack-export-viewer/tests/testarchive.zip",
}


@pytest.fixture(scope="module")
def inbox(real_fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("real")
    for name, path in FILES.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = real_fixtures / path
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return root


def units(synced: Synced, source: Source) -> Counter[str]:
    (report,) = (report for report in synced.read if report.source is source)
    return report.counts.units


def test_real_files_give_the_counts_they_hold(engine: Engine, inbox: Path) -> None:
    synced = sync(engine, inbox, options=ReadOptions())
    crm, chat = (units(synced, source) for source in (Source.CRM, Source.CHAT))
    assert (crm["contact"], crm["lead"]) == (102 + 1, 60)
    (mails,) = (report.counts for report in synced.read if report.source is Source.EMAIL)
    assert mails.units == {"mail": 108 + 53, "signature": 7}
    assert (mails.skipped.total(), mails.rejected) == (0, 0)
    assert chat.total() == 49

    holders: dict[str, set[str]] = {}
    emails: dict[str, list[str]] = {}
    for row in rows(engine, IdentifierRow):
        if row.profile_id:
            holders.setdefault(row.profile_id, set()).add(row.kind)
            emails.setdefault(row.value if row.kind == "email" else "", []).append(row.profile_id)
    assert sum("salesforce" in kinds for kinds in holders.values()) == 163
    emails.pop("", None)
    assert all(len(profiles) == 1 for profiles in emails.values())
    assert {row.id for row in rows(engine, Profile)} == set(holders), "no profile without an identifier"

    audit = audit_evidence(engine)
    assert (audit.without, audit.wrong) == (0, 0)
    assert audit.facts > 0
    assert count_invalid_values(engine, load_traits(None)) == {}
    assert count_failed(engine) == {}
    assert not [row for row in rows(engine, DocumentRow) if row.profile_id and row.state != "done"]

    rejections = len(rows(engine, Rejection))
    assert rejections == sum(report.counts.rejected + report.unrecognised for report in synced.read)

    again = sync(engine, inbox, options=ReadOptions())
    assert [report.files for report in again.read] == [0, 0, 0]
    assert again.extracted == []
    assert again.folded == []
    assert len(rows(engine, Rejection)) == rejections

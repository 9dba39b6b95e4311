"""All formats. A new one is a file with a ``READER`` and a line here."""

from ingest_pipeline.documents import Source
from ingest_pipeline.sources import (
    chatgpt,
    claude,
    discord,
    eml,
    facebook,
    hubspot,
    intercom,
    jsonl,
    mapped,
    mbox,
    msteams,
    outlook_msg,
    outlook_pst,
    pipedrive,
    salesforce,
    slack,
    takeout,
    telegram,
    whatsapp,
    zendesk,
)
from ingest_pipeline.sources.base import Reader, SourceFile
from ingest_pipeline.sources.contents import describe

READERS: tuple[Reader, ...] = (
    mapped.READER,
    salesforce.READER,
    hubspot.READER,
    zendesk.READER,
    intercom.READER,
    pipedrive.READER,
    mbox.READER,
    eml.READER,
    takeout.READER,
    outlook_msg.READER,
    outlook_pst.READER,
    slack.READER,
    whatsapp.READER,
    telegram.READER,
    discord.READER,
    msteams.READER,
    facebook.READER,
    chatgpt.READER,
    claude.READER,
    *jsonl.READERS,
)
"""In the order in which they are asked."""

_ASKED_LAST = "mail_zip"
"""Takes every zip that it cannot open, so that reading it says why."""

BY_FORMAT = {reader.format: reader for reader in READERS}


def detect(source: Source, file: SourceFile, head: bytes) -> Reader | None:
    """The reader for a file of this source's folder, or None when no format matches."""
    return next((reader for reader in READERS if reader.source is source and reader.detect(file, head)), None)


def recognise(file: SourceFile, head: bytes, source: Source | None) -> Reader | None:
    """The reader for the content; only one of the source's when the file lies in its folder of the inbox."""
    if source is not None:
        return detect(source, file, head)
    found = [reader for reader in READERS if reader.detect(file, head)]
    return min(found, key=lambda reader: reader.format == _ASKED_LAST, default=None)


def misplaced(file: SourceFile, head: bytes, source: Source) -> str:
    """What a file is that no reader of its source takes, and what to do about it; for people."""
    elsewhere = recognise(file, head, None)
    if elsewhere is not None:
        return f"{elsewhere.format}, which is read from {elsewhere.source}/ and not from {source}/: move it"
    return describe(head)

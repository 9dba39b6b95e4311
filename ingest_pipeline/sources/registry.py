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

BY_FORMAT = {reader.format: reader for reader in READERS}


def detect(source: Source, file: SourceFile, head: bytes) -> Reader | None:
    """The reader for a file of this source's folder, or None when no format matches."""
    return next((reader for reader in READERS if reader.source is source and reader.detect(file, head)), None)

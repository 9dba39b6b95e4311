"""The inbox as a resource."""

import dagster as dg

from ingest_pipeline.settings import load_settings
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.imap_account import ImapAccount
from ingest_pipeline.sources.inbox import Inbox, open_inbox
from resources.failures import reported


class InboxResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The folders crm/, email/, chat/ at ``url``; empty means INGEST_INBOX."""

    url: str = ""

    def mail_account(self) -> ImapAccount | None:
        """The IMAP account of INGEST_IMAP_URL, if one is set."""
        with reported():
            return load_settings().imap_account()

    def open(self) -> tuple[Inbox, ReadOptions]:
        """The inbox and how to read it. Fails the step with one line when there is none."""
        with reported():
            settings = load_settings()
            return open_inbox(self.url or settings.inbox), settings.read_options()

"""Summaries of profiles: made with the fold from what it gives, and kept where nothing of that changed."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, select, update

from ingest_pipeline.states import ProfileState
from ingest_pipeline.store.tables import Profile
from ingest_pipeline.store.upsert import LISTED, select_listed
from ingest_pipeline.summary import TEMPLATE_VERSION, template_summary

_NAMES = ("summary", "summary_source", "summary_inputs", "summary_version")


def save_summaries(connection: Connection, states: Mapping[str, ProfileState], now: datetime) -> set[str]:
    """The one written by hand stays, else it is made anew where what it is made from changed. ``states`` by profile.
    Returns whose changed."""
    new: list[dict[str, Any]] = []
    same: list[dict[str, Any]] = []
    for row in select_listed(connection, _stored(), states):
        text, source, inputs = _chosen(row, states[row.id])
        if (text, source, inputs) == (row.summary, row.summary_source, row.summary_inputs):
            continue
        is_new = text != row.summary
        values = (text, source, inputs, row.summary_version + is_new)
        change = {"b_id": row.id} | dict(zip(_NAMES, values, strict=True))
        (new if is_new else same).append(change | ({"summary_updated_at": now} if is_new else {}))
    for changes in (new, same):
        if changes:
            connection.execute(_changed(changes is new), sorted(changes, key=itemgetter("b_id")))
    return {change["b_id"] for change in new}


def _chosen(row: Any, state: ProfileState) -> tuple[str | None, str | None, str | None]:
    """Text, source, digest of what it is made from."""
    if state.summary is not None:
        return state.summary, "manual", None
    inputs = state.about.named(row.display_name)
    digest = inputs.digest(TEMPLATE_VERSION)
    if row.summary_source == "template" and row.summary_inputs == digest:
        return row.summary, "template", digest
    text = template_summary(inputs)
    return text, None if text is None else "template", digest


@cache
def _stored() -> Select[Any]:
    p = Profile
    query = select(p.id, p.display_name, p.summary, p.summary_source, p.summary_inputs, p.summary_version)
    return query.where(p.id.in_(LISTED))


@cache
def _changed(is_new: bool) -> Update:
    names = (*_NAMES, "summary_updated_at") if is_new else _NAMES
    mine = update(Profile).where(Profile.__table__.c.id == bindparam("b_id"))
    return mine.values({name: bindparam(name) for name in names})

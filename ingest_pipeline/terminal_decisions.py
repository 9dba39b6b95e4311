"""What the command line says of a decision, in one line; and the tables of decisions and of the audit log."""

import json
from collections.abc import Iterable

from rich.table import Table

from ingest_pipeline.console import plain
from ingest_pipeline.editing import Decided
from ingest_pipeline.edits import Action, Edit, Target
from ingest_pipeline.store.audit_log import AuditEntry
from ingest_pipeline.store.facts import Fact
from ingest_pipeline.terminal import SHORT_ID, make_table, time_text, value_text
from ingest_pipeline.terminal_facts import disagreement

_NOTHING = "nothing"
_AS_EVIDENCE, _NO_EVIDENCE = "as the evidence says", "since no evidence says anything"


def decision_line(decided: Decided) -> str:
    """``contact_preference: email → phone, set by hand; 3 pieces of evidence say email``."""
    kind = decided.edits[0].kind
    if kind is Target.SUMMARY:
        return f"summary: {decided.profile.summary or _NOTHING}"
    return _trait_line(decided) if kind is Target.TRAIT else _memory_line(decided)


def _trait_line(decided: Decided) -> str:
    last = decided.edits[-1]
    now = _shown(decided.after)
    meant = ", ".join(value_text(edit.value) for edit in decided.edits if edit.action is last.action)
    match last.action:
        case Action.SET:
            what = f"{_change(decided)}, set by hand"
        case Action.CLEAR:
            what = f"{_change(decided)}, {_AS_EVIDENCE if decided.after else _NO_EVIDENCE}"
        case Action.CONFIRM:
            what = f"{meant} confirmed"
        case Action.UNREJECT:
            what = f"{meant} may come back; now {now}"
        case _:
            what = f"{meant} rejected; now {now}"
    behind = disagreement(decided.after) if decided.after else []
    return "; ".join((f"{last.key}: {what}", *behind))


def _memory_line(decided: Decided) -> str:
    fact = decided.after or decided.before
    name = f"memory {fact.id[:SHORT_ID]}" if fact else "memory"
    edit = decided.edits[-1]
    match edit.action:
        case Action.SET:
            return f"{name}: {_shown(decided.after)}, written by hand"
        case Action.REVISE:
            return f"{name}: {_revision(decided)}"
        case Action.CONFIRM:
            return f"{name}: {_shown(decided.after)} confirmed"
        case Action.UNREJECT:
            return f"{name}: {edit.value['content']} may come back"
        case Action.CLEAR:
            return f"{name}: {_change(decided)}, {_AS_EVIDENCE if decided.after else _NO_EVIDENCE}"
        case _:
            return f"{name}: {_shown(decided.before)} rejected"


def _revision(decided: Decided) -> str:
    before, after = decided.before, decided.after
    if before is None or after is None:
        return _change(decided)
    changes = [_change(decided)] if before.value != after.value else [value_text(after.value)]
    changes += [f"type {before.key} → {after.key}"] if before.key != after.key else []
    if before.importance != after.importance:
        changes.append(f"importance {before.importance:.2f} → {after.importance:.2f}")
    return ", ".join(changes) + ", revised"


def _change(decided: Decided) -> str:
    before, after = _shown(decided.before), _shown(decided.after)
    return f"{before} → {after}" if decided.before and before != after else after


def _shown(fact: Fact | None) -> str:
    return value_text(fact.value) if fact else _NOTHING


def edits_table(edits: Iterable[Edit]) -> Table:
    table = make_table("When", "Who", "Decision", "About", "What", "Id")
    for edit in edits:
        about = edit.key if edit.kind is Target.TRAIT else edit.kind.value
        table.add_row(
            time_text(edit.at), plain(edit.actor), edit.action.value, plain(about), plain(_given(edit)),
            edit.id[:SHORT_ID],
        )  # fmt: skip
    return table


def _given(edit: Edit) -> str:
    """A value, a sentence with what is said of it, or else the sentence that is meant."""
    if edit.kind is Target.PROFILE:
        return ", ".join(f"{name} {profile}" for name, profile in edit.value.items() if profile)
    if isinstance(edit.value, dict):
        sentence = str(edit.value.get("content") or edit.target or "")
        more = [f"{name} {edit.value[name]}" for name in ("type", "importance") if name in edit.value]
        return ", ".join([sentence, *more])
    return (edit.target or "") if edit.value is None else value_text(edit.value)


def audit_table(entries: Iterable[AuditEntry]) -> Table:
    table = make_table("When", "Who", "Way", "Action", "Profile", "Detail")
    for entry in entries:
        detail = ", ".join(f"{name}={json.dumps(value)}" for name, value in entry.detail.items())
        table.add_row(
            time_text(entry.at), plain(entry.actor), entry.via, entry.action, entry.profile_id or "–", plain(detail)
        )
    return table

"""What the command line shows of one profile: its facts, what proves them, who decided them, why values ended."""

import shlex
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ingest_pipeline.console import plain
from ingest_pipeline.edits import Action, Edit, Target
from ingest_pipeline.store.facts import Fact, Past, ProfileFacts, Proof
from ingest_pipeline.terminal import SHORT_ID, day, make_table, time_text, value_text

_QUOTE_CHARS = 80

_VOICES = {
    "subject": "in their own words",
    "field": "a field of their record",
    "signature": "in their signature",
    "note": "a note about them",
}


def show_profile(console: Console, facts: ProfileFacts) -> None:
    documents = ", ".join(f"{n} {source}" for source, n in facts.documents.items()) or "none"
    known = ([f"external id {facts.external_id}"] if facts.external_id else []) + list(facts.identifiers)
    head = "\n".join(part for part in (facts.id, ", ".join(known), f"documents: {documents}", facts.summary) if part)
    console.print(Panel(plain(head), title=plain(facts.name or facts.external_id or "Profile"), title_align="left"))
    traits = make_table("Trait", "Value, and what says so", "Confidence", "Since", title="Traits")
    for fact in facts.traits:
        traits.add_row(plain(fact.key), _proved(fact), _bar(fact.confidence), day(fact.since))
    console.print(traits if facts.traits else "No traits.")
    for fact in facts.traits:
        if fact.alternatives:
            _show_conflict(console, fact, facts)
    memories = make_table("Memory, and what says so", "Type", "Importance\nnow", "Last said", "Id", title="Memories")
    for fact in facts.memories:
        memories.add_row(
            _proved(fact),
            plain(fact.key),
            _bar((fact.importance or 0.0) * fact.decay),
            day(fact.since),
            fact.id[:SHORT_ID],
        )
    console.print(memories if facts.memories else "No memories.")
    if facts.history:
        console.print(_history_table(facts.history))


def _show_conflict(console: Console, fact: Fact, facts: ProfileFacts) -> None:
    """Both values, and the commands that decide: typed as they stand, whatever the values hold."""
    values = [fact.value, *fact.alternatives]
    console.print(plain(f"Conflict: {fact.key} is {' or '.join(map(value_text, values))}. Decide with:", "yellow"))
    for value in values:
        command = shlex.join(("ingest", "set", facts.reference, fact.key, value_text(value)))
        console.print(plain(f"  {command}"), soft_wrap=True)


def show_why(console: Console, fact: Fact, history: tuple[Past, ...]) -> None:
    """One fact with who decided it and each sentence that proves it, or another value."""
    what = f"{fact.key} = {value_text(fact.value)}" if fact.kind == "trait" else str(fact.value)
    console.print(plain(what, "bold"), plain(f"confidence {fact.confidence:.2f}, id {fact.id}", "dim"))
    for line in (decision_text(fact.edit) if fact.edit else "", *disagreement(fact)):
        if line:
            console.print(plain(line, "yellow"))
    for proof in fact.proofs:
        console.print(_proof_panel(proof))
    if not fact.proofs:
        console.print("no sentence behind it")
    if history:
        console.print(_history_table(history))


_DECISIONS = {
    (Action.SET, Target.TRAIT): "set by hand",
    (Action.SET, Target.MEMORY): "written by hand",
    (Action.SET, Target.SUMMARY): "written by hand",
    (Action.CONFIRM, Target.TRAIT): "confirmed",
    (Action.CONFIRM, Target.MEMORY): "confirmed",
    (Action.REVISE, Target.MEMORY): "revised",
}


def decision_text(edit: Edit) -> str:
    """``set by hand by kim, 2026-11-23 09:30 UTC``."""
    what = _DECISIONS.get((edit.action, edit.kind), edit.action.value)
    return f"{what} by {edit.actor}, {time_text(edit.at)}"


def disagreement(fact: Fact) -> list[str]:
    """What evidence says against a value: a line per other value."""
    return [
        f"{len(proofs)} {'piece' if len(proofs) == 1 else 'pieces'} of evidence "
        f"{'says' if len(proofs) == 1 else 'say'} {value_text(proofs[0].value)}"
        for proofs in fact.opposing()
    ]


def show_ended(console: Console, key: str, history: tuple[Past, ...]) -> None:
    """A trait that has no value any more, with why."""
    console.print(plain(f"{key} has no value now", "bold"))
    console.print(_history_table(history))


def _proof_panel(proof: Proof) -> Panel:
    lines = [
        ("says", f"“{proof.quote}”"),
        ("value", value_text(proof.value) if proof.value is not None else ""),
        ("said", f"{time_text(proof.occurred_at)}, {_VOICES.get(proof.role, proof.role)}"),
        ("where", f"characters {proof.start}–{proof.end} of document {proof.document_id}"),
        ("source", " ".join(dict.fromkeys((f"{proof.source},", proof.origin, proof.kind, proof.native_id)))),
        ("file", ", ".join(part for part in (proof.file, proof.position) if part)),
        ("record", ", ".join(f"{key}={value}" for key, value in proof.metadata.items() if value is not None)),
        ("by", f"{proof.model or 'an extractor'} ({proof.fingerprint}), {_run(proof.run_id)}"),
    ]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in lines:
        if value:
            grid.add_row(plain(name, "dim"), plain(value))
    return Panel(grid)


def _run(run_id: str | None) -> str:
    return f"run {run_id}" if run_id else "in no run"


def _history_table(history: Iterable[Past]) -> Table:
    table = make_table("Trait", "Was", "From", "Until", "Why it ended", title="Before")
    for past in history:
        was = value_text(past.value) + (f"\n{decision_text(past.edit)}" if past.edit else "")
        table.add_row(plain(past.key), plain(was), day(past.valid_from), day(past.valid_to), plain(_ending(past)))
    return table


def _ending(past: Past) -> str:
    """What ended a value: the words, or the decision."""
    if past.ending:
        return f"{past.reason} by {past.ending.actor}, {time_text(past.ending.at)}"
    return f"{past.reason}: {_short(past.quote)}" if past.quote else past.reason


def _bar(share: float) -> str:
    return f"{'█' * round(share * 5):·<5} {share:.2f}"


def _proved(fact: Fact) -> Text:
    """The value, with who decided it and the start of its newest quote below, then each value in conflict with it."""
    text = plain(value_text(fact.value))
    if fact.edit:
        text.append_text(plain(f"\n{decision_text(fact.edit)}", "yellow"))
    supporting = fact.supporting()
    if supporting:
        text.append_text(plain(f"\n{_quoted(supporting)}", "dim"))
    elif not fact.edit:
        text.append_text(plain(f"\n{fact.source}, no sentence behind it", "dim"))
    if not fact.alternatives:
        for line in disagreement(fact):
            text.append_text(plain(f"\n{line}", "dim"))
    for value in fact.alternatives:
        text.append_text(plain(f"\nor {value_text(value)}"))
        text.append_text(plain(f"\n{_quoted(fact.proofs_of(value))}", "dim"))
    return text


def _quoted(proofs: Sequence[Proof]) -> str:
    """The start of the newest quote, and how many more there are."""
    if not proofs:
        return "no sentence behind it"
    return _short(proofs[0].quote) + (f" +{len(proofs) - 1}" if len(proofs) > 1 else "")


def _short(quote: str) -> str:
    line = " ".join(quote.split())
    return f"“{line if len(line) <= _QUOTE_CHARS else line[: _QUOTE_CHARS - 1].rstrip() + '…'}”"

"""A few dated statements → what the profile holds, in whatever order they arrive. The data: ``fold_scenarios.toml``."""

import re
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import pytest

from ingest_pipeline.documents import Document, Role, Segment, Source, stable_id
from ingest_pipeline.edits import Action, Edit, Target, claim_key
from ingest_pipeline.extraction.base import Kind, MemoryType
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.fold import fold
from ingest_pipeline.states import Observed, ProfileState, Rules

SCENARIOS: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "fold_scenarios.toml").read_text(encoding="utf-8")
)["scenario"]
SCHEMA = load_traits(None)
EXTRACTOR = OfflineExtractor(SCHEMA)
LATER = "2026-01-01"
MAX_ORDERS = 24

_GIVEN = re.compile(
    r"(?P<when>\S+) (?P<who>edit (?P<action>\w+)|\w+) (?P<not>-)?(?P<key>\w+)(?:: |=)?(?P<value>.*?)"
    r"(?: @(?P<effective>\S+))?(?: \((?P<stated>[^)]+)\))?(?: (?P<confidence>0\.\d+))?$"
)


def moment(text: str) -> datetime | None:
    """A day is its noon; "-" is no date."""
    if text == "-":
        return None
    parsed = datetime.fromisoformat(text if "T" in text else f"{text}T12:00")
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def day(text: str) -> datetime:
    """Its first moment."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def statement(number: int, line: str) -> Observed | Edit:
    found = _GIVEN.fullmatch(line)
    assert found, line
    if found["action"]:
        return edit(number, found)
    is_memory = found["key"] in set(MemoryType)
    ident = stable_id("observation", str(number), line)
    return Observed(
        ident, stable_id("document", str(number)), Kind.MEMORY if is_memory else Kind.TRAIT, found["key"],
        found["value"], float(found["confidence"] or 0.9), 0.5 if is_memory else None, Role(found["who"]),
        moment(found["when"]), day(found["effective"]) if found["effective"] else None, bool(found["not"]), line, 0,
        len(line), found["stated"],
    )  # fmt: skip


def edit(number: int, found: re.Match[str]) -> Edit:
    at = moment(found["when"])
    assert at
    action, key, value = Action(found["action"]), found["key"], found["value"]
    ident = stable_id("edit", str(number))
    if key in set(MemoryType):
        target, _, words = value.partition(" => ")
        content = {"content": words or target}
        return Edit(ident, at, "kim", action, Target.MEMORY, key, claim_key(target), content)
    is_list = key in ("interests", "current_goals") and action is Action.SET
    return Edit(
        ident, at, "kim", action, Target.TRAIT, key, claim_key(value) if value else None,
        value.split(", ") if is_list else value or None,
    )  # fmt: skip


def read(texts: Sequence[str]) -> list[Observed]:
    """What the offline extractor finds in each text, as the store would hand it to the fold."""
    observed: list[Observed] = []
    for number, line in enumerate(texts):
        when, who, text = line.split(" ", 2)
        ident, role = stable_id("document", str(number)), Role(who)
        segments = (Segment(0, len(text), role),)
        document = Document(ident, Source.DIRECT, "api", "text", text, segments, moment(when))
        (extraction,) = EXTRACTOR.extract([document])
        observed += [
            Observed(
                stable_id(ident, str(n)), ident, o.kind, o.key, o.value, o.confidence, o.importance, o.role, o.said_at,
                o.effective_at, o.retracted, o.quote, o.start, o.end, o.stated,
            )
            for n, o in enumerate(extraction.observations)
        ]  # fmt: skip
    return observed


def run(given: Iterable[Observed | Edit], as_of: str) -> ProfileState:
    given = list(given)
    observed = [one for one in given if isinstance(one, Observed)]
    edits = [one for one in given if isinstance(one, Edit)]
    return fold("p", observed, edits, SCHEMA, Rules(), day(as_of))


def holds(state: ProfileState) -> list[str]:
    shown = []
    for trait in state.traits:
        values = sorted(map(str, trait.value)) if isinstance(trait.value, list) else [str(trait.value)]
        shown.append(f"{trait.key}={' | '.join([', '.join(values), *map(str, trait.alternatives)])}")
    return sorted(shown)


def before(state: ProfileState) -> list[str]:
    def ends(at: datetime | None) -> str:
        return f"{at:%Y-%m-%d}" if at else "?"

    return sorted(f"{h.key}={h.value} {ends(h.valid_from)}..{ends(h.valid_to)} {h.reason}" for h in state.history)


def names(scenarios: Iterable[dict[str, Any]]) -> list[str]:
    return [scenario["name"] for scenario in scenarios]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=names(SCENARIOS))
def test_what_was_said_and_decided_gives_this_profile(scenario: dict[str, Any]) -> None:
    """In every order; what is not mentioned is not there."""
    given = [statement(n, line) for n, line in enumerate(scenario["given"])]
    state = run(given, scenario.get("as_of", LATER))
    if "holds" in scenario:
        assert holds(state) == sorted(scenario["holds"])
    if "before" in scenario:
        assert before(state) == sorted(scenario["before"])
    if "memories" in scenario:
        assert sorted(f"{m.type}: {m.content}" for m in state.memories) == scenario["memories"]
    if "aside" in scenario:
        assert sorted(state.rejected.values()) == scenario["aside"]
    for order in islice(permutations(given), MAX_ORDERS):
        assert run(order, scenario.get("as_of", LATER)) == state
    assert run(given[::-1], scenario.get("as_of", LATER)) == state


READABLE = [scenario for scenario in SCENARIOS if "texts" in scenario]


@pytest.mark.parametrize("scenario", READABLE, ids=names(READABLE))
def test_the_same_as_people_write_it(scenario: dict[str, Any]) -> None:
    """From the text, by the offline extractor, to the same traits and the same history."""
    observed = read(scenario["texts"])
    for order in (observed, observed[::-1]):
        state = run(order, scenario.get("as_of", LATER))
        assert holds(state) == sorted(scenario["holds"])
        if "before" in scenario:
            assert before(state) == sorted(scenario["before"])


def test_there_are_scenarios_of_every_kind() -> None:
    """Names are different, and many are read from texts as well."""
    assert len(SCENARIOS) >= 80
    assert len(READABLE) >= 30
    assert len(set(names(SCENARIOS))) == len(SCENARIOS)
    reasons = {line.rsplit(" ", 1)[1] for scenario in SCENARIOS for line in scenario.get("before", ())}
    assert reasons == {"replaced", "retracted", "set", "cleared", "rejected"}
    assert sum(" | " in line for scenario in SCENARIOS for line in scenario.get("holds", ())) >= 5

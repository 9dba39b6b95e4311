"""Claims about one trait, in the order in which they count, to the values that held one after the other. Pure.

    claims ── by moment ──▶ what wins each moment ──▶ runs: the value that holds (several: a conflict), those that ended

At one moment the best source wins, then what was said last (a correction), then what is surer by a clear lead. Where
that decides nothing a value that a person confirmed before wins; else the values are in conflict: all are kept until
another moment, or a person, decides.

A retraction ends the value that it names and no other. It also takes back what was claimed before it for a later time:
"I left Acme in January", said in May, answers the signatures of February, but not one of June.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from ingest_pipeline.documents import Json
from ingest_pipeline.edits import Edit
from ingest_pipeline.evidence import confidence
from ingest_pipeline.states import MAX_CONFIDENCE, Observed

CLEAR_LEAD = 0.1
"""By so much more confidence a claim wins against another of the same moment, source rank and date."""

BY_HAND = 1_000
"""The source rank of a person's decision."""


class Claim(NamedTuple):
    """A value claimed for a moment, by an observation or by a person who confirms it. ``key`` is its identity.

    ``rank``: of its source, higher is better. ``since``: as history shows it. A NamedTuple for ``Observed``'s reason.
    """

    key: str
    value: Json
    moment: datetime
    since: datetime
    said: datetime
    rank: int
    confidence: float
    retracted: bool
    source: Observed | Edit

    def order(self) -> tuple[datetime, int, datetime, float, str, str]:
        # Ids come last: an extraction by another model gives others.
        return (self.moment, self.rank, self.said, self.confidence, str(self.value), self.source.id)


@dataclass(slots=True)
class Run:
    """A value over the time that it held, with all claims for it, oldest first."""

    key: str
    value: Json
    claims: list[Claim]

    @property
    def since(self) -> datetime:
        """The earliest date given: "since 2019" is said after "I live in Lisbon" and tells more."""
        return min(claim.since for claim in self.claims)

    @property
    def observed(self) -> list[Observed]:
        return [claim.source for claim in self.claims if isinstance(claim.source, Observed)]

    @property
    def confirmed(self) -> Edit | None:
        """The latest confirmation."""
        edits = [claim.source for claim in self.claims if isinstance(claim.source, Edit)]
        return max(edits, key=Edit.rank, default=None)

    @property
    def confidence(self) -> float:
        return MAX_CONFIDENCE if self.confirmed else confidence(self.observed)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that is over. ``reason`` is ``replaced`` or ``retracted``."""

    run: Run
    by: Claim
    reason: str


@dataclass(slots=True)
class Timeline:
    """``current``: what holds, the shown value first; more than one is a conflict. ``vouched_for``: the value that a
    person confirmed last, which wins where nothing else decides."""

    current: list[Run] = field(default_factory=list)
    past: list[Ended] = field(default_factory=list)
    vouched_for: str | None = None

    def advance(self, claims: Sequence[Claim]) -> None:
        """Take in all claims of the next moment, which come in their order."""
        claims = self._retract(claims)
        if not claims:
            return
        contenders = _winners(claims)
        if claims[-1].rank == BY_HAND:
            self.vouched_for = claims[-1].key
        if self.vouched_for in contenders:
            contenders = [self.vouched_for]
        best = max((c for c in claims if c.key in contenders), key=Claim.order)
        runs = {run.key: run for run in self.current}
        for claim in claims:
            run = runs.get(claim.key)
            if run is None:
                runs[claim.key] = Run(claim.key, claim.value, [claim])
            else:
                run.claims.append(claim)
        self.past += [Ended(run, best, "replaced") for run in runs.values() if run.key not in contenders]
        shown = self.current[0].key if self.current else None
        self.current = [runs[key] for key in contenders]
        if len(contenders) > 1:
            self.current.sort(key=lambda run: (run.key == shown, run.confidence, run.key), reverse=True)

    def _retract(self, claims: Sequence[Claim]) -> list[Claim]:
        """End what is retracted at this moment; the claims that are left."""
        taken_back = {claim.key for claim in claims if claim.retracted}
        if not taken_back:
            return list(claims)
        left = [claim for claim in claims if not claim.retracted and claim.key not in taken_back]
        for key in sorted(taken_back):
            about = [claim for claim in claims if claim.key == key]
            against = [claim for claim in about if claim.retracted]
            claimed = [claim for claim in about if not claim.retracted]
            if claimed and _beats(claimed, against):
                left += claimed
                continue
            by = against[-1]
            self.past += [Ended(run, by, "retracted") for run in self.current if run.key == key]
            self.current = [run for run in self.current if run.key != key]
        return sorted(left, key=Claim.order)


def build(claims: Iterable[Claim]) -> Timeline:
    """Everything claimed about one trait, in any order."""
    timeline = Timeline()
    for _, group in groupby(sorted(_standing(claims), key=Claim.order), key=attrgetter("moment")):
        timeline.advance(list(group))
    return timeline


def _standing(claims: Iterable[Claim]) -> list[Claim]:
    """Without those that a retraction takes back which was said no earlier. What a person confirmed stands."""
    claims = list(claims)
    retractions = [claim for claim in claims if claim.retracted]
    if not retractions:
        return claims

    def is_taken_back(claim: Claim) -> bool:
        return not claim.retracted and any(
            claim.key == r.key and claim.moment > r.moment and claim.said <= r.said for r in retractions
        )

    return [claim for claim in claims if claim.rank == BY_HAND or not is_taken_back(claim)]


def _winners(claims: Sequence[Claim]) -> list[str]:
    """The value that wins the moment, or all between which nothing decides."""
    keys = dict.fromkeys(claim.key for claim in claims)
    if len(keys) == 1:
        return list(keys)
    rank = max(claim.rank for claim in claims)
    said = max(claim.said for claim in claims if claim.rank == rank)
    sure: dict[str, float] = {}
    for claim in claims:
        if (claim.rank, claim.said) == (rank, said):
            sure[claim.key] = max(claim.confidence, sure.get(claim.key, 0.0))
    best = max(sure.values())
    return [key for key, value in sure.items() if not _leads(best, value)]


def _beats(claimed: Sequence[Claim], against: Sequence[Claim]) -> bool:
    """Whether a value stands against its retraction at the same moment; when nothing decides, it does not."""
    for_it, against_it = (max((c.rank, c.said) for c in side) for side in (claimed, against))
    if for_it != against_it:
        return for_it > against_it
    surest, doubt = (max(c.confidence for c in side) for side in (claimed, against))
    return _leads(surest, doubt)


def _leads(a: float, b: float) -> bool:
    return round(a - b, 6) >= CLEAR_LEAD

"""The claims about one trait, and what people decided about it, to its value now and before. Pure.

    claims + confirmations ── timeline, per element for an array ──▶ what the evidence says
    set, clear, reject     ── by hand ──▶ what is shown, the evidence behind it, why values ended

What is set by hand is shown until it is set again, cleared or rejected; what the evidence says meanwhile stays behind
it, and is as if nothing had been set once it is cleared. A rejected value is as if nobody had claimed it, save for the
history that it had.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ingest_pipeline.documents import Json, Role, stable_id
from ingest_pipeline.edits import Action, Edit, claim_key
from ingest_pipeline.extraction.traits import Trait, ValueRejected, normalise_value
from ingest_pipeline.moments import counts_from
from ingest_pipeline.states import BEGINNING, MAX_CONFIDENCE, FoldedTrait, Observed, PastValue
from ingest_pipeline.timeline import BY_HAND, Claim, Run, Timeline, build

REJECTED_BY_HAND = "rejected_by_hand"

_NOT_WORDS = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])")
_HYPHENS = {ord(c): "-" for c in "‐‑‒–—―−"}


def value_key(value: Json) -> str:
    """What spellings of one value share, beside what ``claim_key`` says: accents and the kind of hyphen."""
    key = claim_key(value)
    if key.isascii():
        return key
    plain = unicodedata.normalize("NFKD", key).translate(_HYPHENS)
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).split()) or key


def element_key(value: Json) -> str:
    """As ``value_key``, for the elements of an array: "E-Mail", "e mail" and "email" are one, and so are plurals."""
    key = _NOT_WORDS.sub("", value_key(value))
    return key[:-1] if len(key) > 3 and key[-1] == "s" and key[-2] not in "sui" and key[-2].isalpha() else key


def fold_trait(
    profile_id: str,
    trait: Trait,
    observed: Sequence[tuple[Observed, Json]],
    edits: Sequence[Edit],
    rank: Mapping[Role, int],
) -> tuple[FoldedTrait | None, list[PastValue], dict[str, str]]:
    """The trait as it is shown (None: it has no value), its history, and the observations kept aside with the reason.

    ``observed`` comes with canonical values, above the threshold and in effect; ``edits`` are those of the trait.
    """
    return _TraitFold(profile_id, trait, observed, sorted(edits, key=Edit.rank), rank).fold()


@dataclass(frozen=True, slots=True)
class _ByHand:
    """A value, or an element, that is set; ``edit`` is the first that set it."""

    value: Json
    edit: Edit


class _TraitFold:
    def __init__(
        self,
        profile_id: str,
        trait: Trait,
        observed: Sequence[tuple[Observed, Json]],
        edits: Sequence[Edit],
        rank: Mapping[Role, int],
    ) -> None:
        self.profile_id, self.trait, self.edits = profile_id, trait, edits
        self.is_array = trait.value_type == "array"
        self.key_of = element_key if self.is_array else value_key
        self.past: list[PastValue] = []
        self.claims = [self._claim(o, value, rank.get(o.role, -1)) for o, value in observed]
        self.by_hand: dict[str, _ByHand] = {}
        self.begun: Edit | None = None
        self.latest: Edit | None = None

    def fold(self) -> tuple[FoldedTrait | None, list[PastValue], dict[str, str]]:
        confirmed: dict[str, Edit] = {}
        rejected: dict[str, Edit] = {}
        for edit in self.edits:
            self._decide(edit, confirmed, rejected)
        claims = self.claims + self._confirmations(confirmed)
        for key, edit in rejected.items():
            earlier = {k for k, e in rejected.items() if e.rank() < edit.rank()}
            self._end_rejected(key, edit, [c for c in claims if c.moment <= edit.at and c.key not in earlier])
        lines = self._lines([claim for claim in claims if claim.key not in rejected])
        for line in lines:
            self.past += [self._ended(e.run, e.by.since, e.reason, e.by.source.id) for e in line.past]
        aside = {c.source.id: REJECTED_BY_HAND for c in self.claims if c.key in rejected}
        runs = [run for line in lines for run in line.current]
        if self.begun is None:
            return self._shown(runs), self.past, aside
        shown = self._shown_by_hand(runs)
        self._cut(runs, self.begun)
        return shown, self.past, aside

    def _claim(self, o: Observed, value: Json, rank: int) -> Claim:
        return Claim(self.key_of(value), value, counts_from(o), o.since, o.said, rank, o.confidence, o.retracted, o)

    def _decide(self, edit: Edit, confirmed: dict[str, Edit], rejected: dict[str, Edit]) -> None:
        """One edit after another."""
        key = self.key_of(edit.target or "")
        if edit.action is Action.SET:
            self._set(edit)
        elif edit.action is Action.CLEAR:
            confirmed.clear()
            self._end_by_hand(list(self.by_hand), edit, "cleared")
            self.begun = self.latest = None
        elif edit.action is Action.CONFIRM:
            confirmed[key] = edit
            rejected.pop(key, None)
        elif edit.action is Action.REJECT:
            rejected[key] = edit
            confirmed.pop(key, None)
            if key in self.by_hand:
                self._end_by_hand([key], edit, "rejected")
                if not self.by_hand:
                    self.begun = self.latest = None
        elif edit.action is Action.UNREJECT:
            rejected.pop(key, None)

    def _set(self, edit: Edit) -> None:
        """A value that the schema no longer allows is passed over, as one of an extractor would be."""
        values: dict[str, Json] = {}
        for value in edit.value if self.is_array and isinstance(edit.value, list) else [edit.value]:
            try:
                canonical = normalise_value(self.trait, value)
            except ValueRejected:
                continue
            values.setdefault(self.key_of(canonical), canonical)
        if not values and edit.value != []:
            return
        self._end_by_hand([key for key in self.by_hand if key not in values], edit, "set")
        since = self.by_hand
        self.by_hand = {key: _ByHand(v, since[key].edit if key in since else edit) for key, v in values.items()}
        self.begun, self.latest = self.begun or edit, edit

    def _end_by_hand(self, keys: Sequence[str], edit: Edit, reason: str) -> None:
        for key in keys:
            ended = self.by_hand.pop(key)
            self.past.append(
                PastValue(
                    id=stable_id("past", self.profile_id, self.trait.key, ended.edit.id, key),
                    key=self.trait.key,
                    value=ended.value,
                    confidence=_given(ended.edit),
                    valid_from=ended.edit.at,
                    valid_to=edit.at,
                    reason=reason,
                    ended_by=edit.id,
                    edit_id=ended.edit.id,
                )
            )

    def _confirmations(self, confirmed: Mapping[str, Edit]) -> list[Claim]:
        """A confirmed value was claimed by a person, who goes before all others, at the time of the edit."""
        spelled = {claim.key: claim.value for claim in sorted(self.claims, key=Claim.order)}
        claims = []
        for key, edit in confirmed.items():
            value = spelled.get(key)
            if value is None:
                try:
                    value = normalise_value(self.trait, edit.value)
                except ValueRejected:
                    continue
            claims.append(Claim(key, value, edit.at, edit.at, edit.at, BY_HAND, MAX_CONFIDENCE, False, edit))
        return claims

    def _lines(self, claims: Sequence[Claim]) -> list[Timeline]:
        """One timeline, or one per element, each with its latest spelling."""
        if not self.is_array:
            return [build(claims)]
        elements: dict[str, list[Claim]] = {}
        for claim in claims:
            elements.setdefault(claim.key, []).append(claim)
        lines = []
        for _, element in sorted(elements.items()):
            spelling = max(element, key=Claim.order).value
            lines.append(build([claim._replace(value=spelling) for claim in element]))
        return lines

    def _end_rejected(self, key: str, edit: Edit, claims: Sequence[Claim]) -> None:
        """The history of a rejected value, when it held at the time."""
        for line in self._lines([c for c in claims if not self.is_array or c.key == key]):
            for run in line.current:
                if run.key == key:
                    self.past.append(self._ended(run, edit.at, "rejected", edit.id))

    def _cut(self, runs: Sequence[Run], begun: Edit) -> None:
        """What the evidence said ended for the reader when something was set; what it says since was never shown."""
        before = [past for past in self.past if past.edit_id or (past.valid_from or BEGINNING) < begun.at]
        self.past = [
            past
            if past.edit_id or past.reason == "rejected" or (past.valid_to or BEGINNING) <= begun.at
            else replace(past, valid_to=begun.at, reason="set", ended_by=begun.id)
            for past in before
        ]
        for run in runs:
            if run.key not in self.by_hand and run.since < begun.at:
                self.past.append(self._ended(run, begun.at, "set", begun.id))

    def _ended(self, run: Run, at: datetime, reason: str, by: str) -> PastValue:
        first = run.claims[0].source
        return PastValue(
            id=stable_id("past", self.profile_id, self.trait.key, first.id),
            key=self.trait.key,
            value=run.value,
            confidence=run.confidence,
            valid_from=known(run.since),
            valid_to=known(max(run.since, at)),
            reason=reason,
            ended_by=by,
            observation_id=first.id if isinstance(first, Observed) else None,
            edit_id=first.id if isinstance(first, Edit) else None,
        )

    def _shown(self, runs: Sequence[Run]) -> FoldedTrait | None:
        """What the evidence, with what was confirmed, says."""
        if not runs:
            return None
        runs = sorted(runs, key=lambda run: (run.since, claim_key(run.value))) if self.is_array else runs
        confirmed = [run.confirmed for run in runs if run.confirmed] if self.is_array else [runs[0].confirmed]
        edit = max((edit for edit in confirmed if edit), key=Edit.rank, default=None)
        evidence = tuple(
            (o, run.value if self.is_array or run is not runs[0] else None) for run in runs for o in run.observed
        )
        return self._trait(
            value=[run.value for run in runs] if self.is_array else runs[0].value,
            confidence=max(run.confidence for run in runs) if self.is_array else runs[0].confidence,
            valid_from=known((runs[-1] if self.is_array else runs[0]).since),
            evidence=evidence,
            # Who confirmed it is its evidence when the documents that said so are gone.
            source="extracted" if evidence else "manual",
            alternatives=() if self.is_array else tuple(run.value for run in runs[1:]),
            edit_id=edit.id if edit else None,
        )

    def _shown_by_hand(self, runs: Sequence[Run]) -> FoldedTrait | None:
        if not self.by_hand or self.latest is None:
            return None
        values = [held.value for held in self.by_hand.values()]
        alike = [run.since for run in runs if run.key in self.by_hand]
        since = max(held.edit.at for held in self.by_hand.values())
        return self._trait(
            value=values if self.is_array else values[0],
            confidence=_given(self.latest),
            valid_from=known(since if self.is_array else min([since, *alike])),
            evidence=tuple(
                (o, run.value if self.is_array or run.key not in self.by_hand else None)
                for run in runs
                for o in run.observed
            ),
            source="manual",
            alternatives=(),
            edit_id=self.latest.id,
        )

    def _trait(
        self,
        value: Json,
        confidence: float,
        valid_from: datetime | None,
        evidence: tuple[tuple[Observed, Json], ...],
        source: str,
        alternatives: tuple[Json, ...],
        edit_id: str | None,
    ) -> FoldedTrait:
        return FoldedTrait(
            id=stable_id("trait", self.profile_id, self.trait.key),
            key=self.trait.key,
            value=value,
            value_type=self.trait.value_type,
            category=self.trait.category,
            confidence=confidence,
            valid_from=valid_from,
            evidence=evidence,
            source=source,
            alternatives=alternatives,
            edit_id=edit_id,
        )


def known(moment: datetime) -> datetime | None:
    return None if moment == BEGINNING else moment


def _given(edit: Edit) -> float:
    """How sure a person was who set the value."""
    return MAX_CONFIDENCE if edit.confidence is None else min(edit.confidence, MAX_CONFIDENCE)

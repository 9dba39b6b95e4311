"""The short description of a profile, made from its traits and most important memories. Pure: no clock, no model.

traits + memories ── choose_inputs ──▶ SummaryInputs ── template ──▶ text
                                            └── digest: the same inputs never make another summary
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ingest_pipeline.documents import Json
from ingest_pipeline.extraction.traits import TraitSchema

TEMPLATE_VERSION = "template:1"
"""Raise it with every change of the wording: summaries are made anew then."""

MAX_MEMORIES = 4
HALF_LIFE_DAYS = 180.0
"""A memory this much older than the newest one counts half. Not older than today: time alone changes nothing."""

_WHO = ("name", "job_title", "company", "location")
"""What the first sentence is made of."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """A memory as the summary needs it."""

    id: str
    content: str
    importance: float
    occurred_at: datetime | None


@dataclass(frozen=True, slots=True)
class SummaryInputs:
    """``who`` by trait key; ``traits`` are (label, value) by priority; ``memories`` sentences, weightiest first."""

    who: Mapping[str, str]
    traits: tuple[tuple[str, str], ...]
    memories: tuple[str, ...]

    def named(self, name: str | None) -> "SummaryInputs":
        """With the profile's name, unless a trait gives one."""
        return replace(self, who={"name": name, **self.who}) if name and "name" not in self.who else self

    @property
    def empty(self) -> bool:
        return not (self.who or self.traits or self.memories)

    @property
    def worth_asking(self) -> bool:
        """Whether a model could tell more of it than the template does."""
        return bool(self.traits or self.memories)

    def digest(self, version: str) -> str:
        """SHA-256 (hex) of the inputs and of how the summary is made: ``TEMPLATE_VERSION``, or prompt and model."""
        inputs = {"who": dict(self.who), "traits": self.traits, "memories": self.memories}
        return hashlib.sha256(json.dumps([version, inputs], sort_keys=True).encode()).hexdigest()


NOTHING_KNOWN = SummaryInputs({}, (), ())


def choose_inputs(traits: Mapping[str, Json], memories: Iterable[Remembered], schema: TraitSchema) -> SummaryInputs:
    """Traits that are never injected are left out."""
    shown = {key: told(value) for key, value in traits.items()}
    who = {key: shown[key] for key in _WHO if shown.get(key)}
    others = [
        trait for trait in schema.traits if trait.key in shown and trait.key not in _WHO and trait.injection.enabled
    ]
    others.sort(key=lambda trait: (-trait.injection.priority, trait.key))
    return SummaryInputs(
        who=who,
        traits=tuple((trait.label or trait.key.replace("_", " ").capitalize(), shown[trait.key]) for trait in others),
        memories=tuple(_weightiest(memories)),
    )


def told(value: Json) -> str:
    """A trait's value in words."""
    if isinstance(value, list):
        return ", ".join(str(element) for element in value)
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _weightiest(memories: Iterable[Remembered]) -> list[str]:
    memories = list(memories)
    newest = max((m.occurred_at for m in memories if m.occurred_at), default=None)

    def weight(memory: Remembered) -> float:
        if newest is None or memory.occurred_at is None:
            return memory.importance / 2
        age_days = (newest - memory.occurred_at).total_seconds() / 86_400
        return memory.importance * math.pow(0.5, age_days / HALF_LIFE_DAYS)

    ordered = sorted(memories, key=lambda memory: (-round(weight(memory), 6), memory.id))
    return [memory.content for memory in ordered[:MAX_MEMORIES]]


def template_summary(inputs: SummaryInputs) -> str | None:
    """Who it is, what they prefer, what is going on. None when nothing is known.

    "Ana Ferreira, Head of Logistics at Vela Logistics, Lisbon. Contact preference: phone. Is evaluating Forecast."
    """
    if inputs.empty:
        return None
    sentences = [_who(inputs.who)] if inputs.who else []
    sentences += [f"{label}: {value}" for label, value in inputs.traits]
    sentences += inputs.memories
    return " ".join(_ended(sentence) for sentence in sentences)


def _who(who: Mapping[str, str]) -> str:
    role = " at ".join(who[key] for key in ("job_title", "company") if key in who)
    return ", ".join(part for part in (who.get("name"), role, who.get("location")) if part)


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?", "…", "”", "。")) else f"{sentence}."

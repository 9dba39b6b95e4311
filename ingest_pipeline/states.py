"""What the fold takes and gives: observations and rules in, the state of one profile out. No behaviour to speak of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from ingest_pipeline.documents import Json, Role
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.summary import NOTHING_KNOWN, TEMPLATE_VERSION, SummaryInputs

BEGINNING = datetime.min.replace(tzinfo=UTC)
"""When an undated claim took effect: before everything else."""

NAME = "name"
"""The trait by which people are called, before what records call them."""

MAX_CONFIDENCE = 0.99
"""Of any fact, however much speaks for it, and of what a person set or confirmed."""

SOURCE_RANK = (Role.FIELD, Role.SIGNATURE, Role.SUBJECT, Role.NOTE)
"""Which of two claims for the same moment wins, best first. What is set by hand goes before all of them."""


class Observed(NamedTuple):
    """An observation as the fold needs it. ``id`` is unique and stable; times are UTC.

    ``effective_at`` is the first moment of the period that ``stated`` names ("last month"), None without a phrase.
    A NamedTuple, since a fold of everything makes millions and a frozen dataclass takes four times as long.
    """

    id: str
    document_id: str
    kind: Kind
    key: str
    value: Json
    confidence: float
    importance: float | None
    role: Role
    said_at: datetime | None
    effective_at: datetime | None
    retracted: bool
    quote: str
    start: int
    end: int
    stated: str | None = None

    @property
    def since(self) -> datetime:
        """When the claim took effect: the stated date, else when it was said, else before everything else."""
        return self.effective_at or self.said_at or BEGINNING

    @property
    def said(self) -> datetime:
        return self.said_at or BEGINNING


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides beside the trait schema. ``source_rank``: best first; a role that is not in it comes last.

    ``embedding_model``: whose vectors link memories too, besides their words; None: words alone. ``summary_by``: what
    writes summaries, ``TEMPLATE_VERSION`` or a prompt and a model; the fold itself asks no model.
    """

    source_rank: tuple[Role, ...] = SOURCE_RANK
    embedding_model: str | None = None
    summary_by: str = TEMPLATE_VERSION


DEFAULT_RULES = Rules()


@dataclass(frozen=True, slots=True)
class FoldedTrait:
    """The value that holds now. ``source`` is ``extracted`` or ``manual``.

    ``evidence`` names with each observation the element of an array trait that it supports; of another trait the value,
    where that is not the one shown (a conflict, or evidence behind a manual value), else None. ``alternatives``: the
    values that the evidence cannot choose between and ``value``. ``edit_id``: who set or confirmed it.
    """

    id: str
    key: str
    value: Json
    value_type: str
    category: str
    confidence: float
    valid_from: datetime | None
    evidence: tuple[tuple[Observed, Json], ...]
    source: str = "extracted"
    alternatives: tuple[Json, ...] = ()
    edit_id: str | None = None


@dataclass(frozen=True, slots=True)
class PastValue:
    """A value that held from ``valid_from`` until ``valid_to``.

    ``reason``: ``replaced`` or ``retracted``, ``ended_by`` is the observation then; ``set``, ``cleared`` or
    ``rejected``, ``ended_by`` is the edit then. ``observation_id`` is the first that claimed the value; a manual value
    has ``edit_id`` instead.
    """

    id: str
    key: str
    value: Json
    confidence: float
    valid_from: datetime | None
    valid_to: datetime | None
    reason: str
    ended_by: str
    observation_id: str | None = None
    edit_id: str | None = None


@dataclass(frozen=True, slots=True)
class FoldedMemory:
    """One sentence with all that was said for it. ``occurred_at`` is when it was said last.

    ``event_at``: the day an event is on. ``sightings`` counts independent pieces of evidence. ``source`` is ``manual``
    when a person wrote the words. ``edit_id``: who wrote, revised or confirmed it.
    """

    id: str
    type: str
    content: str
    importance: float
    confidence: float
    occurred_at: datetime | None
    event_at: datetime | None
    sightings: int
    evidence: tuple[Observed, ...]
    source: str = "extracted"
    edit_id: str | None = None


@dataclass(frozen=True, slots=True)
class ProfileState:
    """The folded state of one profile, each part sorted by id.

    ``rejected`` maps ids of observations that are kept aside to reasons: those of the trait schema, ``not_yet``,
    ``rejected_by_hand``. ``refold_at``: when the first ``not_yet`` takes effect. ``summary``: the one written by hand;
    ``about``: what another is made from.
    """

    traits: tuple[FoldedTrait, ...]
    history: tuple[PastValue, ...]
    memories: tuple[FoldedMemory, ...]
    rejected: Mapping[str, str] = field(default_factory=dict)
    refold_at: datetime | None = None
    summary: str | None = None
    about: SummaryInputs = NOTHING_KNOWN

    @property
    def told_name(self) -> str | None:
        """What the person is called, if anything said so: the trait ``name``."""
        return next((str(trait.value) for trait in self.traits if trait.key == NAME), None)

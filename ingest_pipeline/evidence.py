"""How sure several pieces of evidence make us. Pure; the order of the evidence does not count."""

from collections.abc import Sequence

from ingest_pipeline.edits import claim_key
from ingest_pipeline.states import MAX_CONFIDENCE, Observed


def independent(evidence: Sequence[Observed]) -> list[float]:
    """The confidence of each independent piece, in descending order.

    What one document says twice, and the same words in several documents (a quoted mail, a signature, a copied record),
    is one piece, as sure as the surest of it.
    """
    if len(evidence) == 1:
        return [evidence[0].confidence]
    quotes = [claim_key(o.quote) for o in evidence]
    if len(set(quotes)) == len({o.document_id for o in evidence}) == len(evidence):
        return sorted((o.confidence for o in evidence), reverse=True)
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for o, quote in zip(evidence, quotes, strict=True):
        leader[find("d" + o.document_id)] = find("q" + quote)
    surest: dict[str, float] = {}
    for o in evidence:
        piece = find("d" + o.document_id)
        surest[piece] = max(o.confidence, surest.get(piece, 0.0))
    return sorted(surest.values(), reverse=True)


def combine(pieces: Sequence[float]) -> float:
    """Noisy-or: each independent piece may be wrong by itself. At most MAX_CONFIDENCE, to four places.

    The pieces come sorted, so that rounding errors do not depend on their order.
    """
    doubt = 1.0
    for piece in pieces:
        doubt *= 1.0 - min(max(piece, 0.0), 1.0)
    return min(round(1.0 - doubt, 4), MAX_CONFIDENCE)


def confidence(evidence: Sequence[Observed]) -> float:
    return combine(independent(evidence))

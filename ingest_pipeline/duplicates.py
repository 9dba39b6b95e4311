"""Which sentences say the same: exact and near duplicates among the memories of one profile. Pure.

    sentences ── by guard: what must be equal ──▶ blocks ── by words, or vectors ──▶ links ──▶ clusters

Two sentences that are equal but for case, spaces and final marks are one. Others are near duplicates when

- their **guards** are equal: numbers with what they count, dates and weekdays, negations with what they deny, proper
  names, times ("was", "will"), words that have an opposite, what stands on either side of "over", "than" or "from", all
  in their order. A guard is computed from one sentence alone, so that equality is transitive: blocks are formed first,
  and no chain of similar sentences leads out of a block;
- one has all the words of the other in the same order, articles, prepositions and adverbs of no weight apart, and few
  more. So a word that is replaced makes another sentence, however long the two are.

The result does not depend on the order of the sentences, and another sentence only ever joins clusters.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz.distance import Indel

from ingest_pipeline.edits import claim_key

MIN_SIMILARITY = 0.88
"""2 × words of the shorter / words of both: one more in four (8/9) passes, one more in three (6/7) does not. On
``tests/duplicate_cases.toml`` all from 0.86 to 0.90 decide every pair rightly; lower ones join what says more, higher
ones leave duplicates."""

MIN_COSINE = 0.92
"""Of two sentences' vectors, inside a block. Models differ; this keeps to what is nearly the same words."""

_SMALL = 24
"""Up to so many sentences of a block are compared one by one: NumPy takes longer to import than that takes."""

_ROWS = 512

_WORD = re.compile(r"\d+(?:[.,:/]\d+)*%?|[^\W\d_]+(?:['’][^\W\d_]+)?\d*|[€$£]")
_NUMBERS = {
    "zero": "0", "half": "0.5", "one": "1", "once": "1", "single": "1", "two": "2", "twice": "2", "three": "3",
    "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11",
    "twelve": "12", "dozen": "12", "fifteen": "15", "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50",
    "hundred": "100", "thousand": "1000", "million": "1000000",
}  # fmt: skip
_DENYING = re.compile(r"(?:un|dis|non|mis|anti|de|in|im|il|ir)(?=[a-z]{4})")


def _stem(token: str) -> str:
    """Without case, possessive and the s of plurals and verbs: "prefers" and "prefer" are one."""
    word = token.casefold().removesuffix("'s") or token
    if word[0].isdigit():
        return word.replace(",", "")
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _NUMBERS.get(word, word)


def _words(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in text.split())


_ORDERED = _words("over than instead rather before after from into versus vs")
_NEGATIONS = _words(
    """
    not no never without none neither nor cannot nothing nobody hardly rarely seldom barely stop stopped quit gave
    ended cancelled canceled cancel dropped abandoned refused refuse declined decline avoid lack except unless
    against longer anymore former formerly ex
    """
)
_DATES = _words(
    """
    monday tuesday wednesday thursday friday saturday sunday january february march april may june july august
    september october november december jan feb mar apr jun jul aug sep sept oct nov dec spring summer autumn fall
    winter today yesterday tomorrow tonight morning afternoon evening night noon midnight weekend weekday daily
    weekly monthly quarterly yearly annual annually day week month quarter year hour minute
    """
)
_TIMES = _words(
    """
    was were had been used will shall would could might plan planned planning going intend want wanted considering
    consider hope upcoming next last previous previously recently soon already yet new old first second third start
    starting begin began join leave leaving left
    """
)
_OPPOSITES = _words(
    """
    north northern south southern east eastern west western right up down out inbound outbound more less fewer most
    least increase decrease raise reduce grow grew shrink buy bought sell sold son daughter brother sister wife
    husband mother father parents aunt uncle like love hate dislike prefer accept reject approve deny open close
    early late earlier later high low higher lower big small large long short fast slow hot cold internal external
    import export public private personal inside outside above below minimum maximum hire fire win won lose lost
    arrive depart always often sometimes only male female phone email e-mail chat enterprise basic free paid cheap
    expensive good bad happy easy difficult allow forbid
    """
)
_WEIGHTLESS = _words(
    """
    a an the is are am be being has have their theirs his hers her its they them he she it this that these those and
    or of on at for to in by as with there very really quite also just currently now still actually generally
    usually mostly some any all own which who do does did so too such per each every
    """
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A sentence as it is compared. ``names`` is apart from ``guard``: a sentence without its capitals has none."""

    words: tuple[str, ...]
    guard: tuple[str, ...]
    names: tuple[str, ...]


@lru_cache(maxsize=65_536)
def read(sentence: str) -> Reading:
    """Weighty words in order, and what must be equal."""
    tokens = [m.group() for m in _WORD.finditer(sentence.replace("’", "'"))]
    stems = [_stem(token) for token in tokens]
    weighty = [n for n, stem in enumerate(stems) if stem not in _WEIGHTLESS]
    guard: list[str] = []
    names: list[str] = []
    for n, (token, stem) in enumerate(zip(tokens, stems, strict=True)):
        if n and token[0].isupper() and stem not in _DATES and stem not in _NUMBERS:
            names.append(stem)
        guard += _guarded(n, stem, stems, weighty)
    return Reading(tuple(stems[n] for n in weighty), tuple(guard), tuple(names))


def _guarded(n: int, stem: str, stems: Sequence[str], weighty: Sequence[int]) -> list[str]:
    """What the word at ``n`` adds to the guard: itself, when it decides, with the words that it decides about."""
    if stem[0].isdigit():
        return [stem, *(stems[m] for m in weighty if m > n)][:2]
    if stem in _ORDERED:
        before = [stems[m] for m in weighty if m < n]
        return [*before[-1:], stem, *[stems[m] for m in weighty if m > n][:1]]
    if stem in _NEGATIONS or stem.endswith("n't"):
        return [stem, *[stems[m] for m in weighty if m > n][:2]]
    if stem in _DATES or stem in _TIMES or stem in _OPPOSITES or (_DENYING.match(stem) and len(stem) > 5):
        return [stem]
    if len(stem) > 4 and stem.endswith("ed"):  # what is over is not what goes on
        return [stem]
    return []


class Clusters:
    """Disjoint sets of sentences, which only ever join."""

    def __init__(self) -> None:
        self._leader: dict[str, str] = {}

    def add(self, key: str) -> None:
        self._leader.setdefault(key, key)

    def knows(self, key: str) -> bool:
        return key in self._leader

    def find(self, key: str) -> str:
        root = key
        while self._leader[root] != root:
            root = self._leader[root]
        while self._leader[key] != root:
            self._leader[key], key = root, self._leader[key]
        return root

    def join(self, a: str, b: str) -> None:
        """The smaller key leads, so that nothing depends on the order."""
        first, second = sorted((self.find(a), self.find(b)))
        self._leader[second] = first


def cluster(sentences: Iterable[str], vectors: Mapping[str, Sequence[float]] | None = None) -> Clusters:
    """Clusters of the sentences' ``claim_key``s. ``vectors``: embeddings by sentence, of equal length."""
    clusters = Clusters()
    spellings: dict[str, str] = {}
    for sentence in sentences:
        key = claim_key(sentence)
        clusters.add(key)
        spellings[sentence] = key
    if len(set(spellings.values())) < 2:
        return clusters
    blocks: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, str]] = {}
    for sentence, key in spellings.items():
        reading = read(sentence)
        blocks.setdefault((reading.guard, reading.names), {})[sentence] = key
    for block in blocks.values():
        if len(set(block.values())) > 1:
            _link(block, clusters, vectors)
    return clusters


def candidates(sentences: Iterable[str]) -> list[str]:
    """The sentences that another one may repeat in other words: of those alike in weighty words the first. Only their
    vectors can make a difference."""
    blocks: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[tuple[str, ...], str]] = {}
    for sentence in sorted(set(sentences)):
        reading = read(sentence)
        blocks.setdefault((reading.guard, reading.names), {}).setdefault(reading.words, sentence)
    return sorted(sentence for block in blocks.values() if len(block) > 1 for sentence in block.values())


def _link(block: Mapping[str, str], clusters: Clusters, vectors: Mapping[str, Sequence[float]] | None) -> None:
    """Join what is alike inside a block of sentences (with their keys)."""
    by_words: dict[tuple[str, ...], str] = {}
    for sentence in sorted(block):
        words = read(sentence).words
        clusters.join(by_words.setdefault(words, block[sentence]), block[sentence])
    codes = _codes(by_words)
    texts = list(codes)
    for a, b in _alike(texts):
        clusters.join(codes[texts[a]], codes[texts[b]])
    if vectors:
        known = [sentence for sentence in sorted(block) if sentence in vectors]
        for a, b in _near([vectors[sentence] for sentence in known]):
            clusters.join(block[known[a]], block[known[b]])


def _codes(by_words: Mapping[tuple[str, ...], str]) -> dict[str, str]:
    """Each word as one character: so the library compares words, not their letters ("northern" and "southern")."""
    alphabet: dict[str, str] = {}
    return {
        "".join(alphabet.setdefault(word, chr(0x10000 + len(alphabet))) for word in words): key
        for words, key in by_words.items()
    }


def _alike(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of which one contains the other and is not much longer."""
    if len(texts) <= _SMALL:
        return [(a, b) for b in range(len(texts)) for a in range(b) if _is_alike(texts[a], texts[b])]
    import numpy
    from rapidfuzz import process

    lengths = numpy.array([len(text) for text in texts])
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(texts), _ROWS):
        rows = texts[start : start + _ROWS]
        # Half of the square is enough: what stands before these rows has met them.
        distance = process.cdist(rows, texts[start:], scorer=Indel.distance, dtype=numpy.uint16)
        ours, theirs = lengths[start : start + _ROWS, None], lengths[None, start:]
        alike = (distance == abs(ours - theirs)) & (distance <= (1 - MIN_SIMILARITY) * (ours + theirs))
        pairs += [(start + int(a), start + int(b)) for a, b in numpy.argwhere(alike) if a < b]
    return pairs


def _is_alike(a: str, b: str) -> bool:
    distance = abs(len(a) - len(b))
    return distance <= (1 - MIN_SIMILARITY) * (len(a) + len(b)) and Indel.distance(a, b) == distance


def _near(vectors: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs whose cosine is at least MIN_COSINE."""
    if len(vectors) < 2:
        return []
    import numpy

    matrix = numpy.asarray(vectors, dtype=numpy.float64)
    lengths = numpy.linalg.norm(matrix, axis=1, keepdims=True)
    matrix = matrix / numpy.where(lengths > 0, lengths, 1.0)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(matrix), _ROWS):
        cosines = matrix[start : start + _ROWS] @ matrix[start:].T
        pairs += [(start + int(a), start + int(b)) for a, b in numpy.argwhere(cosines >= MIN_COSINE) if a < b]
    return pairs

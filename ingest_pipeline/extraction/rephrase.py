"""First person to third: "my team and I" → "their team and they". Only pronouns change; the verb is the template's."""

import re

_WORDS = {
    "i": "they", "we": "they", "me": "them", "us": "them", "my": "their", "our": "their", "mine": "theirs",
    "ours": "theirs", "myself": "themselves", "ourselves": "themselves", "i'm": "they are", "we're": "they are",
    "i've": "they have", "we've": "they have", "i'll": "they will", "we'll": "they will", "i'd": "they would",
    "we'd": "they would", "am": "are", "your": "the", "was": "were",
}  # fmt: skip
_PRONOUN = re.compile(
    rf"(?<![\w’'])(?:{'|'.join(map(re.escape, sorted(_WORDS, key=len, reverse=True)))})(?![\w’'])", re.I
)
_ADDRESSED = re.compile(r"\b(?:you|yours|yourself|u)\b", re.IGNORECASE)
_WAS = re.compile(r"(?<=\bthey )was\b")


def in_third_person(text: str) -> str | None:
    """The text with first-person words replaced; None when it speaks to the reader ("you"), who is nobody here.

    "your" becomes "the": "your enterprise plan" is the one that the reader sells.
    """
    plain = text.replace("’", "'")
    if _ADDRESSED.search(plain):
        return None

    def replace(match: re.Match[str]) -> str:
        word = match.group().lower()
        if word == "us" and match.group() == "US":
            return match.group()
        return match.group() if word == "was" else _WORDS[word]

    return _WAS.sub("were", _PRONOUN.sub(replace, plain))


def third_person_verb(verb: str) -> str:
    """ "manage" → "Manages", "have" → "Has"; other forms of one verb give the same."""
    word = verb.casefold().replace("’", "'")
    word = {"have": "has", "'ve got": "has", "have got": "has"}.get(word, word)
    if word.startswith(("be ", "'m ", "am ", "is ", "are ", "'re ", "'s ")):
        stem = word.split()[-1].removesuffix("ing")
        word = {"manag": "manages", "lead": "leads", "runn": "runs"}.get(stem, stem + "s")
    else:
        first, space, rest = word.partition(" ")
        word = f"{first if first.endswith('s') and not first.endswith('ss') else _with_s(first)}{space}{rest}"
    return word[:1].upper() + word[1:]


def _with_s(verb: str) -> str:
    return verb + ("es" if verb.endswith(("ss", "sh", "ch", "x")) else "s")

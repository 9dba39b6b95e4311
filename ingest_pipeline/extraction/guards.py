"""What proves nothing, however it reads: imagined, doubted, ironic, reported or quoted words, and text for software."""

import re
from collections.abc import Iterable

_HYPOTHETICAL = re.compile(
    r"\b(?:if (?:i|we|he|she|they|you) (?:were|was|had|could|ever|lived|moved|worked|did|would|live|move|work|go|get)"
    r"|were (?:i|we) |i wish|wish (?:i|we|he|she|they)|would love to|'d love to|would like to (?:live|move|work)"
    r"|'d like to (?:live|move|work)|would have|would've|could have|might|may (?:have|be|move)|imagine|suppose"
    r"|supposed(?:ly)?"
    r"|hypothetical\w*|what if|let's say|say i |dream(?:s|ing)? (?:of|about)|thinking (?:of|about)|toying with|pretend"
    r"|for example|for instance|e\.g\.|allegedly|apparently|not sure (?:if|whether)|rumou?r)(?!\w)",
    re.IGNORECASE,
)
_IRONY = re.compile(
    r"\b(?:yeah,? right|(?:just|only) (?:kidding|joking)|kidding|jk|as if|lol|rofl|sure,? because|oh,? (?:great"
    r"|joy|how)"
    r"|in your dreams|april fools?|said no one|not really)\b|(?<!\w)/s\b|[🙄😜😏🤡😉]|[;]-?\)|\bnot!\s*$",
    re.IGNORECASE,
)
_KIDDING = re.compile(
    r"^(?:just |only |i'm |nah,? |no,? )*(?:kidding|joking|jk|/s)\b|^(?:\.\.\.|…)? ?not[.!…)]*$", re.IGNORECASE
)
_SOFTWARE = re.compile(
    r"\b(?:(?:ignore|disregard|forget|override) (?:all |any |the |your |my |of |these |those ){0,4}"
    r"(?:previous|prior|above|earlier|preceding|instructions?|rules)|system prompt|(?:previous|new"
    r"|these) instructions?:"
    r"|you are (?:now )?(?:an? |the )?(?:ai\b|assistant|language model|chatbot|llm)|as an ai\b|language model"
    r"|(?:set|update|change|edit) (?:the |this |my |his |her |their )?(?:user(?:'s)? |customer(?:'s)? )?(?:profile"
    r"|traits?|memory)\b"
    r"|(?:add|write|save|record|store|insert) (?:this |it |the following )?(?:in|into|to) (?:the |your "
    r"|my )?(?:profile|memory|memories)"
    r"|(?:note|message|instructions?) (?:to|for) (?:the |any |all )?(?:ai|llm|model|assistant|bot|system)s?\b"
    r"|(?:dear|attention|hey),? (?:ai|llm|assistant|bot|model)\b|jailbreak|prompt injection)|<\|?(?:system"
    r"|im_start|assistant|instructions?)\b",
    re.IGNORECASE,
)
_REPORTED = re.compile(
    r"\b(?!(?:i|we|you|as)\b)[\w']+ (?:said|says|told|wrote|writes|claims|claimed|thinks|thought|asked|replied"
    r"|quoted|goes)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"“[^”\n]{1,500}”|\"[^\"\n]{1,500}\"|«[^»\n]{1,500}»|„[^“”\n]{1,500}[“”]")


def addresses_software(text: str, start: int, end: int) -> bool:
    """Whether the span tells a program what to do. Then nothing in it is believed."""
    return _SOFTWARE.search(text, start, end) is not None


def is_meant(sentence: str, following: str) -> bool:
    """False for what is imagined, doubted or not serious, and for what the next sentence takes back."""
    return not (_HYPOTHETICAL.search(sentence) or _IRONY.search(sentence) or _KIDDING.search(following))


def is_reported(before: str) -> bool:
    """Whether the words before a clause make it someone else's ("he said …")."""
    return bool(before) and _REPORTED.search(before) is not None


def quoted_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Spans in quotation marks, which are nobody's own statement."""
    return [match.span() for match in _QUOTED.finditer(text, start, end)]


def inside(position: int, spans: Iterable[tuple[int, int]]) -> bool:
    return any(start <= position < end for start, end in spans)

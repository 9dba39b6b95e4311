"""Mails and messages that CRMs hold in a cell: their plain text, what in them is the sender's own, who sent them."""

import re
from dataclasses import dataclass

from ingest_pipeline.documents import Role
from ingest_pipeline.sources import reply_patterns as patterns
from ingest_pipeline.sources.crm_text import TextBuilder
from ingest_pipeline.sources.html import html_to_text
from ingest_pipeline.sources.replies import split_reply

_ELEMENTS = (
    "a|abbr|address|article|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|font|footer|form|h[1-6r]|head"
    "|header|html|i|img|ins|kbd|label|li|link|mark|meta|o:p|ol|p|pre|s|section|small|span|strike|strong|style|sub|sup"
    "|table|tbody|td|tfoot|th|thead|title|tr|tt|u|ul"
)
# <jo@x.org>, <https://x.org> and <to be confirmed> are none.
_MARKUP = re.compile(rf"</?(?:{_ELEMENTS})(?:\s[^<>=]*=[^<>]*|\s*)/?>|<!|&(?:#\d+|#x[0-9a-f]+|[a-z]+);", re.IGNORECASE)
# Beyond ASCII the letters of Europe, curly quotes, dashes, what is above the BMP: nothing that a parser would change.
_PARAGRAPHS = re.compile(
    r"(?:<p>[^<>&\x00-\x09\x0b-\x1f\x7f-\xbf\u0250-\u2012\u2015-\u2017\u201f-\u20ab\u20ad-\uffff]*</p>\n?)+\Z"
)
_PARAGRAPH = re.compile(r"<p>([^<]*)</p>")
_NO_PERSON = re.compile(
    r"(?:no-?_?reply|do-?_?not-?_?reply|mailer-daemon|postmaster|bounces?|notifications?)(?:[+._-].*)?@", re.IGNORECASE
)


_PLAIN_LINE = re.compile(r"[^\s>|:：_=*—oO-][^\r\u2028>|:：_=*—]*")
_MAY_QUOTE = re.compile(r"[>|\r\u2028]|[:：]\s*\Z")

LONGEST_MARK = 200
"""A single line up to this length may be "Sent from my phone" or an attribution."""


@dataclass(frozen=True, slots=True)
class OwnWords:
    """What a sender wrote, without the mail they answered, and the signature under it."""

    text: str
    signature: str = ""
    quoted_left_out: bool = False


def plain_text(value: str) -> str:
    """A cell's text: CRMs keep bodies as HTML; imported ones are plain, and a parser would lose their line breaks."""
    if value.startswith("<") and _PARAGRAPHS.match(value):
        # What most messages are, without a parser's cost.
        paragraphs = (" ".join(text.split()) for text in _PARAGRAPH.findall(value))
        return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    return html_to_text(value) if ("<" in value or "&" in value) and _MARKUP.search(value) else value


def own_words(body: str) -> OwnWords:
    """What the sender of a mail wrote themselves: an answer holds the mail it answers, which is somebody else's."""
    if "\n" not in body and _is_plain_line(body):
        return OwnWords(body)
    reply = split_reply(body.replace("\r\n", "\n").replace("\r", "\n"))
    left_out = reply.quoted or reply.forwarded
    if not left_out and not reply.signature:
        return OwnWords(body)
    return OwnWords(reply.text, reply.signature, left_out)


def _is_plain_line(line: str) -> bool:
    """Quickly, for what most messages are: True for a line that is nothing but what somebody wrote."""
    if len(line) > LONGEST_MARK:
        return not _MAY_QUOTE.search(line)
    if not _PLAIN_LINE.fullmatch(line) or "--" in line or patterns.SIGN_OFF.match(line.strip()):
        return False
    lowered = line.lower()
    return all(word not in lowered for word in patterns.DEVICE_WORDS)


def add_own_words(text: TextBuilder, body: str, column: str) -> None:
    """The customer's own words and signature as paragraphs; what they quoted is left out and noted."""
    own = own_words(body)
    text.quoted_left_out |= own.quoted_left_out
    text.text(own.text, Role.SUBJECT, column)
    text.text(own.signature, Role.SIGNATURE, column)


def is_automatic(address: str) -> bool:
    """An address that nobody writes from."""
    return bool(_NO_PERSON.match(address))

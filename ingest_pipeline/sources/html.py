"""HTML to plain text: mail bodies, CRM notes.

A tree walk over block elements, because a plain ``.text()`` glues words of neighbouring blocks together and keeps what
the sender hid. The walk does not recurse, so nesting costs no stack. The parser's own time grows with the square of the
nesting depth (0.16 s at 10,000 levels, 14 s at 100,000), hence the check before it runs.
"""

import re
from collections import Counter

from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_HTML_CHARS = 5_000_000
"""Longer input is cut here before parsing."""

MAX_DEPTH = 1_000
"""Start tags nested deeper than this are ignored; their text stays."""

_MAX_CLONES = 100_000


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


_DROPPED = _tags("head script style template title svg math iframe object audio video")
_BREAKING = _tags(
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer"
    " form h1 h2 h3 h4 h5 h6 header hr legend li main nav ol option p pre section summary table tr ul"
)
_SPACED = _tags("blockquote dl h1 h2 h3 h4 h5 h6 ol p pre table ul")
_FORMATTING = _tags("a b big code em font i nobr s small strike strong tt u")
# They close themselves or their previous sibling, so that writing many of them nests nothing.
_NOT_NESTING = _tags(
    "area base br col embed hr img input link meta param source track wbr p li dd dt tr td th thead tbody tfoot"
    " html head body"
)
# 100,000 options in one select take the parser 44 s.
_SLOW = _tags("select option optgroup")
_HIDING_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>")
_WHITESPACE = re.compile(r"[ \t\n\r\f\u00a0]+")
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f"


def html_to_text(html: str, *, mark_quotes: bool = False) -> str:
    """The text a reader of the HTML would see: a line per block, a blank line between paragraphs, ``- `` before items.

    Hidden elements, scripts, styles and comments are left out. With ``mark_quotes`` the lines of a ``blockquote``
    begin with ``> ``, as in plain-text mail. Never raises for bad markup.
    """
    parser = LexborHTMLParser(_defused(_clean(html[:MAX_HTML_CHARS])))
    writer = _Writer()
    if parser.root is not None:
        _walk(parser.root, writer, mark_quotes)
    return writer.text()


class _Writer:
    """Collects words into lines; whitespace between words collapses, blank lines do not add up."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._parts: list[str] = []
        self._space = False
        self._bullet = False
        self.quote_depth = 0

    def words(self, text: str) -> None:
        collapsed = _WHITESPACE.sub(" ", text)
        stripped = collapsed.strip(" ")
        if not stripped:
            self._space = self._space or bool(collapsed)
            return
        if self._bullet:
            self._parts.append("- ")
            self._bullet = False
        elif self._parts and (self._space or collapsed[0] == " "):
            self._parts.append(" ")
        self._parts.append(stripped)
        self._space = collapsed[-1] == " "

    def verbatim(self, text: str) -> None:
        first, *rest = text.replace("\r\n", "\n").split("\n")
        self._parts.append(first)
        for line in rest:
            self._flush()
            self._parts.append(line)

    def space(self) -> None:
        self._space = True

    def bullet(self) -> None:
        self._bullet = True

    def line(self) -> None:
        """Ends the line, if anything is on it."""
        if self._parts:
            self._flush()
        self._space = False

    def line_break(self) -> None:
        self._flush()

    def paragraph(self) -> None:
        self.line()
        if self._lines and self._lines[-1].strip("> "):
            self._lines.append(self._prefix().rstrip())

    def end_quote(self) -> None:
        self.line()
        while self._lines and not self._lines[-1].strip("> "):
            self._lines.pop()
        self.quote_depth -= 1
        self.paragraph()

    def text(self) -> str:
        self.line()
        return "\n".join(self._lines).strip("\n")

    def _prefix(self) -> str:
        return "> " * self.quote_depth

    def _flush(self) -> None:
        line = "".join(self._parts).rstrip()
        self._parts.clear()
        self._space = False
        if line.strip(_INVISIBLE + " "):
            self._lines.append(self._prefix() + line)
        elif self._lines and self._lines[-1].strip("> "):
            self._lines.append(self._prefix().rstrip())


def _walk(root: LexborNode, writer: _Writer, mark_quotes: bool) -> None:
    """Visits every node in document order, with an enter and a leave step, without recursion."""
    node: LexborNode | None = root
    stack: list[tuple[LexborNode, str, bool]] = []
    verbatim = 0
    while node is not None or stack:
        if node is None:
            node, tag, quoted = stack.pop()
            verbatim -= tag == "pre"
            _leave(tag, writer, quoted)
            node = node.next
            continue
        tag = node.tag or ""
        if tag == "-text":
            (writer.verbatim if verbatim else writer.words)(node.text_content or "")
            node = node.next
        elif tag.startswith(("-", "!", "_")) or tag in _DROPPED or _hidden(node):
            node = node.next
        else:
            quoted = mark_quotes and _is_quote(node, tag)
            verbatim += tag == "pre"
            _enter(tag, writer, quoted)
            stack.append((node, tag, quoted))
            node = node.first_child


def _enter(tag: str, writer: _Writer, quoted: bool) -> None:
    if tag == "br":
        writer.line_break()
    elif quoted:
        writer.paragraph()
        writer.quote_depth += 1
    elif tag in _SPACED:
        writer.paragraph()
    elif tag in _BREAKING:
        writer.line()
    elif tag in {"td", "th"}:
        writer.space()
    if tag == "li":
        writer.bullet()


def _leave(tag: str, writer: _Writer, quoted: bool) -> None:
    if quoted:
        writer.end_quote()
    elif tag in _SPACED:
        writer.paragraph()
    elif tag in _BREAKING:
        writer.line()


def _hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    if not attributes:
        return False
    return "hidden" in attributes or bool(_HIDING_STYLE.search(attributes.get("style") or ""))


def _is_quote(node: LexborNode, tag: str) -> bool:
    # Yahoo puts the quoted mail into a plain div; every other client uses blockquote.
    return tag == "blockquote" or "yahoo_quoted" in (node.attributes.get("class") or "")


def _defused(html: str) -> str:
    """The HTML without the tags that would make the parser's time or memory explode.

    Depth is limited to MAX_DEPTH. Unclosed formatting elements are cloned into every following block (HTML standard,
    "reconstruct the active formatting elements"); beyond _MAX_CLONES all formatting tags go, as they hold no text.
    """
    if html.count("<") <= MAX_DEPTH:
        return html
    kept, clones = _limited_depth(html)
    if clones > _MAX_CLONES:
        kept = _TAG.sub(lambda match: "" if match[2].lower() in _FORMATTING else match[0], kept)
    return kept


def _limited_depth(html: str) -> tuple[str, int]:
    """The HTML without start tags beyond MAX_DEPTH, and how many clones its formatting elements would get."""
    is_open: Counter[str] = Counter()
    depth = formatting = clones = copied = 0
    pieces: list[str] = []
    for match in _TAG.finditer(html):
        name = match[2].lower()
        if name in _NOT_NESTING:
            clones += formatting
            continue
        if name in _SLOW:
            pieces += html[copied : match.start()], " "
            copied = match.end()
        elif match[1]:
            if is_open[name]:
                is_open[name] -= 1
                depth -= 1
                formatting -= name in _FORMATTING
        elif depth >= MAX_DEPTH and name not in _DROPPED:
            pieces += html[copied : match.start()], "<br>" if name in _BREAKING else ""
            copied = match.end()
        else:
            is_open[name] += 1
            depth += 1
            formatting += name in _FORMATTING
            clones += formatting
    pieces.append(html[copied:])
    return "".join(pieces), clones


def _clean(html: str) -> str:
    # The parser takes UTF-8, which has no lone surrogates.
    return html.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")

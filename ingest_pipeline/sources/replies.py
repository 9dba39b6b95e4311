"""Splits the text of a mail into what its sender wrote, their signature, and what they quoted or forwarded.

Pure functions on lines. Two mistakes are possible, and the rules weigh them: crediting the sender with other people's
words, and losing the sender's own (bottom-posted and inline answers, bullet lists). Where a client marks quoted lines
with ``>``, every unmarked line is the sender's. Only where nothing marks the quote (an Outlook header block, an
attribution line above unmarked text, a forwarded message) does it reach to the end of the mail.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from ingest_pipeline.sources import reply_patterns as patterns

MAX_SIGNATURE_LINES = 15
MAX_ATTRIBUTION_LINES = 4
MAX_SIGN_OFF_LINES = 8

_INTRODUCING = frozenset("-_=oO")
_NAME_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Reply:
    """``text`` is what the sender wrote, without ``signature``.

    ``quoted`` and ``forwarded`` tell that such text was left out, ``unmarked_lines`` how many lines of it carried no
    quote mark, so that only their place says whose they are.
    """

    text: str
    signature: str = ""
    quoted: bool = False
    forwarded: bool = False
    unmarked_lines: int = 0


class _Kind(Enum):
    OWN = auto()
    SIGNATURE = auto()
    QUOTED = auto()  # marked with >, or the line that introduces a quote
    FOOTER = auto()  # added by a mailing list or by PGP
    UNMARKED = auto()  # belongs to another mail, only its place says so


# Looking a member up takes longer than the rest of a line.
_OWN, _QUOTED, _SIGNATURE, _FOOTER, _UNMARKED = _Kind.OWN, _Kind.QUOTED, _Kind.SIGNATURE, _Kind.FOOTER, _Kind.UNMARKED


def split_reply(text: str, sender: str = "") -> Reply:
    """Splits a mail's plain text (lines end in ``\\n``). Never raises; all lines of ``text`` are verbatim.

    ``sender`` is their name as known; a block of contact lines that begins with it is their signature.
    """
    lines = text.split("\n")
    # What cannot occur is not looked for line by line: most mails are short and plain.
    kinds = (
        [_QUOTED if line[:1] == ">" or (">" in line and is_quoted(line)) else _OWN for line in lines]
        if ">" in text
        else [_OWN] * len(lines)
    )
    forwarded = _mark_other_mails(lines, kinds)
    if "-----BEGIN PGP SIGN" in text:
        _mark_pgp(lines, kinds)
    has_ruler = any(ruler in text for ruler in patterns.RULERS)
    lowered = text.lower()
    may_name_device = any(word in lowered for word in patterns.DEVICE_WORDS)
    has_dashes = "--" in text or "—" in text
    for start, end in _own_blocks(kinds):
        if has_ruler:
            end = _mark_footer(lines, kinds, start, end)
        if may_name_device:
            _mark_devices(lines, kinds, start, end)
        begin = _delimiter(lines, start, end) if has_dashes else None
        if begin is None:
            begin = _sign_off(lines, kinds, start, end)
        if begin is None and sender:
            begin = _named_block(lines, kinds, start, end, name_words(sender))
        if begin is not None:
            kinds[begin:end] = [_SIGNATURE] * (end - begin)
    if kinds.count(_OWN) == len(kinds):
        return Reply(text.strip("\n"))
    signature = [line for line, kind in zip(lines, kinds, strict=True) if kind is _SIGNATURE]
    unmarked = sum(1 for line, kind in zip(lines, kinds, strict=True) if kind is _UNMARKED and line.strip())
    return Reply(
        text=_own_text(lines, kinds),
        signature="\n".join(signature).strip("\n "),
        quoted=unmarked > 0 or _QUOTED in kinds,
        forwarded=forwarded,
        unmarked_lines=unmarked,
    )


def is_quoted(line: str) -> bool:
    """True for a line that a mail client marked as quoted."""
    return line.startswith(">") or (line[:1] in {" ", "\ufeff", "\t"} and line.lstrip(" \t\ufeff").startswith(">"))


def attribution_start(lines: list[str], end: int) -> int | None:
    """The first line of the attribution ("On … wrote:") whose last line is ``lines[end]``, or None if it is none.

    It may be wrapped over MAX_ATTRIBUTION_LINES. Certain ones name a date and have the form of one; others count only
    right above a quoted line.
    """
    if not lines[end].rstrip().endswith((":", "：")) or is_quoted(lines[end]):
        return None
    above_quote = _next_line_is_quoted(lines, end)
    weak: int | None = None
    joined = ""
    for start in range(end, max(-1, end - MAX_ATTRIBUTION_LINES), -1):
        line = lines[start].strip()
        if not line or is_quoted(line) or (start < end and patterns.SENTENCE_END.search(line)):
            break
        joined = f"{line} {joined}".strip()
        if len(joined) > patterns.MAX_ATTRIBUTION_CHARS:
            break
        if patterns.is_certain_attribution(joined):
            return start
        if weak is None and above_quote and patterns.is_likely_attribution(joined):
            weak = start
    return weak


def header_block_end(lines: list[str], start: int) -> int | None:
    """The line after a block of mail headers ("From: … Sent: … Subject: …") that begins at ``start``, or None."""
    if not patterns.FROM_LABEL.match(lines[start]):
        return None
    # "From: Berlin, To: Lisbon, Date: 5 May" is a traveller's, so a subject or an address is asked for.
    labels = 0
    named = "@" in lines[start]
    end = start + 1
    for index in range(start + 1, min(len(lines), start + 12)):
        if patterns.OTHER_LABEL.match(lines[index]):
            labels += 1
            named = named or bool(patterns.SUBJECT_LABEL.match(lines[index]))
            end = index + 1
        elif not lines[index].strip():
            break
    return end if labels >= 2 and named else None


def _mark_other_mails(lines: list[str], kinds: list[_Kind]) -> bool:
    """Marks attributions, header blocks and all that follows an unmarked quote. Returns whether a forward was found."""
    introductions: list[tuple[int, int]] = []
    forward = len(lines)
    for index, line in enumerate(lines):
        if (":" not in line and "：" not in line and line.lstrip()[:1] not in _INTRODUCING) or (
            kinds[index] is not _OWN or len(line) > patterns.MAX_LINE_CHARS
        ):
            continue
        if patterns.FORWARD.match(line):
            forward = index
            break
        start = attribution_start(lines, index)
        end = index + 1 if start is not None or patterns.ORIGINAL.match(line) else header_block_end(lines, index)
        if end is not None:
            introductions.append((_with_ruler(lines, index) if start is None else start, end))
    _mark_quotes(kinds, introductions, forward)
    return forward < len(lines)


def _mark_quotes(kinds: list[_Kind], introductions: list[tuple[int, int]], forward: int) -> None:
    """What an introduction stands above is marked with ``>`` somewhere before the next one, or reaches to the end."""
    for number, (start, end) in enumerate(introductions):
        kinds[start:end] = [_QUOTED] * (end - start)
        last = number + 1 == len(introductions)
        limit = forward if last else introductions[number + 1][0]
        if limit <= end and not last:
            continue  # "-----Original Message-----" right above its header block
        if _QUOTED not in kinds[end:limit]:
            kinds[end:] = [_UNMARKED] * (len(kinds) - end)
            return
    kinds[forward:] = [_UNMARKED] * (len(kinds) - forward)


def _with_ruler(lines: list[str], index: int) -> int:
    """Outlook draws a line above its header block; it goes with the block."""
    above = index - 1
    while above >= 0 and not lines[above].strip():
        above -= 1
    return above if above >= 0 and patterns.RULER.match(lines[above]) else index


def _mark_pgp(lines: list[str], kinds: list[_Kind]) -> None:
    """Marks the armour of a signed mail: its head up to the first blank line, and the signature."""
    until: re.Pattern[str] | None = None
    for index, line in enumerate(lines):
        if until is None and line.startswith("-----BEGIN PGP SIGN"):
            until = patterns.PGP_HEAD_END if line.startswith("-----BEGIN PGP SIGNED") else patterns.PGP_END
            kinds[index] = _FOOTER
        elif until is not None:
            kinds[index] = _FOOTER
            until = None if until.match(line) else until


def _own_blocks(kinds: list[_Kind]) -> list[tuple[int, int]]:
    """The runs of own lines, each ``(start, end)``."""
    blocks: list[tuple[int, int]] = []
    start: int | None = None
    for index, kind in enumerate([*kinds, _QUOTED]):
        if kind is _OWN:
            start = index if start is None else start
        elif start is not None:
            blocks.append((start, index))
            start = None
    return blocks


def _mark_footer(lines: list[str], kinds: list[_Kind], start: int, end: int) -> int:
    """Marks a mailing list's footer at the end of the block. Returns where the rest of the block ends."""
    filled = 0
    for index in range(end - 1, start - 1, -1):
        filled += bool(lines[index].strip())
        if filled > 10:
            return end
        if patterns.RULER.match(lines[index]):
            below = "\n".join(lines[index + 1 : end])
            if patterns.LIST_FOOTER.search(below):
                kinds[index:end] = [_FOOTER] * (end - index)
                return _mark_footer_ruler(lines, kinds, start, index)
    return end


def _mark_footer_ruler(lines: list[str], kinds: list[_Kind], start: int, end: int) -> int:
    # The upper ruler of a footer that stands between two.
    while end > start and (not lines[end - 1].strip() or patterns.RULER.match(lines[end - 1])):
        end -= 1
        kinds[end] = _FOOTER
    return end


def name_words(name: str) -> frozenset[str]:
    """The words of a person's name, to compare it in any order: "Ferreira, Ana" is "Ana Ferreira"."""
    return frozenset(word.casefold() for word in _NAME_WORD.findall(name))


def _mark_devices(lines: list[str], kinds: list[_Kind], start: int, end: int) -> None:
    for index in range(start, end):
        if len(lines[index]) <= patterns.MAX_DEVICE_CHARS and patterns.SENT_FROM.match(lines[index]):
            kinds[index] = _SIGNATURE


def _delimiter(lines: list[str], start: int, end: int) -> int | None:
    """The "-- " line above the signature. Without its space (RFC 3676, 4.3) it is one only above a few lines."""
    filled = 0
    for index in range(end - 1, start - 1, -1):
        line = lines[index]
        if line in {"-- ", "--\u00a0"} or (line.rstrip() in {"--", "—-", "——"} and filled <= MAX_SIGNATURE_LINES):
            return index
        filled += bool(line.strip())
        if filled > 3 * MAX_SIGNATURE_LINES:
            return None
    return None


def _sign_off(lines: list[str], kinds: list[_Kind], start: int, end: int) -> int | None:
    """The closing phrase ("Best regards,") when only name, role and contact lines follow it up to the block's end."""
    filled = 0
    for index in range(end - 1, start - 1, -1):
        line = lines[index].strip()
        if not line or kinds[index] is _SIGNATURE:
            continue
        if patterns.SIGN_OFF.match(line):
            return index
        filled += 1
        if filled > MAX_SIGN_OFF_LINES or not patterns.is_contact_line(line):
            return None
    return None


def _named_block(lines: list[str], kinds: list[_Kind], start: int, end: int, named: frozenset[str]) -> int | None:
    """The line with the sender's full name when contact lines, one at least, and nothing else follow it."""
    filled = 0
    if len(named) < 2:
        return None
    for index in range(end - 1, start - 1, -1):
        line = lines[index].strip()
        if not line or kinds[index] is _SIGNATURE:
            continue
        if filled and len(line) <= 100 and name_words(line) == named:
            return index
        filled += 1
        if filled > MAX_SIGN_OFF_LINES or not patterns.is_contact_line(line):
            return None
    return None


def _own_text(lines: list[str], kinds: list[_Kind]) -> str:
    """Own lines in order; at most one blank line where something was left out, none at the ends."""
    kept: list[str] = []
    removed = False
    for line, kind in zip(lines, kinds, strict=True):
        if kind is not _OWN:
            removed = True
        elif line.strip() or not removed:
            if removed and kept and kept[-1].strip():
                kept.append("")
            kept.append(line)
            removed = False
    return "\n".join(kept).strip("\n")


def _next_line_is_quoted(lines: list[str], index: int) -> bool:
    for following in range(index + 1, len(lines)):
        if lines[following].strip():
            return is_quoted(lines[following])
    return False

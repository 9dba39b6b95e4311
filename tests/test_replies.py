"""Quotes, forwards and signatures: the sender is credited with all of their own words and no one else's."""

import os
import quopri
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.sources.replies import attribution_start, is_quoted, split_reply

ATTRIBUTIONS = [
    ["On Mon, Jun 3, 2024 at 12:53 AM Ann Lee <ann@example.org> wrote:"],
    ["On Dec 16, 2011, at 12:47 PM, Ann Lee", "<ann@example.org>", "wrote:"],
    ["On 01/03/11 7:07 PM, Ann Lee wrote:"],
    ["On Tue, Sep 25, 2012 at 8:59 AM, Ann Lee", "<ann@example.org>wrote:"],
    ["Am So., 1. Jan. 2023 um 17:22 Uhr schrieb Ann Lee <", "ann@example.org>:"],
    ["Le lun. 3 juin 2024 à 12:53, Ann Lee <ann@example.org> a écrit :"],
    ["El lun, 3 jun 2024 a las 12:53, Ann Lee (<ann@example.org>) escribió:"],
    ["Il giorno lun 3 giu 2024 alle ore 12:53 Ann Lee <ann@example.org>", "ha scritto:"],
    ["Em seg., 3 de jun. de 2024 às 12:53, Ann Lee <ann@example.org> escreveu:"],
    ["Op ma 3 jun 2024 om 12:53 schreef Ann Lee <ann@example.org>:"],
    ["Den 24. nov. 2025 kl. 10.00 skrev Ann Lee <ann@example.org>:"],
    ["ons 4 dec. 2024 kl. 20:42 skrev Ann Lee <ann@example.org>:"],
    ["Den fre 28 feb. 2025 10:15Ann Lee <ann@example.org> skrev:"],
    ["Dnia 28 lutego 2023 14:00 Ann Lee <ann@example.org> napisał(a):"],
    ["W dniu 28.02.2023 o 14:00, Ann Lee pisze:"],
    ["2022年1月1日(金) 9:00 田中太郎 <taro@example.org>:"],
]
NO_ATTRIBUTIONS = [
    "On your remote host you can run:",
    "One outstanding question I had:",
    "My boss wrote:",
    "On the whole I agree with what she wrote:",
    "Call me at 10:30:",
]
OWN = "My own words."
QUOTE = "> Their words."
CASES = [
    ("top-posted", f"{OWN}\n\nOn 1 May 2020, at 2:47, Ann wrote:\n\n{QUOTE}", OWN, ""),
    ("bottom-posted", f"On 1 May 2020, at 2:47, Ann wrote:\n{QUOTE}\n\n{OWN}", OWN, ""),
    ("inline answers", f"Ann wrote:\n{QUOTE}\n\nYes.\n\n{QUOTE}\n\nNo.", "Yes.\n\nNo.", ""),
    ("blank lines below the attribution", f"{OWN}\n\nOn 1 May 2020, at 2:47, Ann wrote:\n\n\n\n{QUOTE}", OWN, ""),
    ("an unmarked quote reaches to the end", f"{OWN}\n\nOn 1 May 2020, at 2:47, Ann wrote:\n\nTheirs.\nMore.", OWN, ""),
    (
        "an unmarked quote above a marked older one",
        f"{OWN}\n\nOn 2 May 2020, at 2:47, Ann wrote:\nTheirs.\n\nOn 1 May 2020, at 2:47, Bo wrote:\n{QUOTE}",
        OWN,
        "",
    ),
    (
        "someone is cited without a quote",
        f"{OWN}\nMy boss wrote:\nplease call.",
        f"{OWN}\nMy boss wrote:\nplease call.",
        "",
    ),
    ("Outlook", f"{OWN}\n\nFrom: Ann\nSent: 1 May 2020\nTo: Bo\nSubject: Hi\n\nTheirs.", OWN, ""),
    ("Outlook, with its ruler", f"{OWN}\n\n______________\nFrom: Ann\nSent: May\nSubject: Hi\n\nTheirs.", OWN, ""),
    ("Outlook, bold", f"{OWN}\n\n*From:* Ann\n*Sent:* 1 May\n*To:* Bo\n*Subject:* Hi\n\nTheirs.", OWN, ""),
    ("Outlook, German", f"{OWN}\n\nVon: Ann\nGesendet: 1. Mai\nAn: Bo\nBetreff: Hi\n\nTheirs.", OWN, ""),
    ("Outlook, Polish", f"{OWN}\n\nOd: Ann\nWysłano: 1 maja\nDo: Bo\nTemat: Hi\n\nTheirs.", OWN, ""),
    ("Outlook, French", f"{OWN}\n\nDe : Ann\nEnvoyé : 1 mai\nÀ : Bo\nObjet : Hi\n\nTheirs.", OWN, ""),
    (
        "Original Message above a marked quote",
        f"-----Original Message-----\nFrom: Ann\nSent: May\nSubject: Hi\n\n{QUOTE}\n\n{OWN}",
        OWN,
        "",
    ),
    (
        "a traveller's lines are no headers",
        "From: Berlin\nTo: Lisbon\nDate: 5 May",
        "From: Berlin\nTo: Lisbon\nDate: 5 May",
        "",
    ),
    (
        "Gmail forward",
        f"{OWN}\n\n---------- Forwarded message ---------\nFrom: Ann\n\nTheirs.\n{QUOTE}\nTheirs.",
        OWN,
        "",
    ),
    ("Apple forward", f"{OWN}\n\nBegin forwarded message:\n\nTheirs.", OWN, ""),
    ("German forward", f"{OWN}\n\n-------- Weitergeleitete Nachricht --------\nTheirs.", OWN, ""),
    ("signature", f"{OWN}\n-- \nBo\nCEO, Acme", OWN, "-- \nBo\nCEO, Acme"),
    ("signature without its space", f"{OWN}\n\n--\nBo", OWN, "--\nBo"),
    ("a dash line above a long text is no signature", "--\n" + "Line.\n" * 20, "--\n" + "Line.\n" * 19 + "Line.", ""),
    ("signature ends at a quote", f"{OWN}\n-- \nBo\n\nAnn wrote:\n{QUOTE}\n\nMore.", f"{OWN}\n\nMore.", "-- \nBo"),
    ("two dashes inside a line", "A fix -- not a signature.", "A fix -- not a signature.", ""),
    ("bullet list", "Two:\n- one\n- two", "Two:\n- one\n- two", ""),
    ("sign-off", f"{OWN}\n\nBest regards,\nBo Lee\nHead of Sales, Acme\n+1 555 123 4567", OWN, None),
    ("sign-off, Danish", f"{OWN}\n\nMed venlig hilsen\nBo", OWN, "Med venlig hilsen\nBo"),
    (
        "text below thanks",
        f"{OWN}\n\nThanks,\nCan you call me on Friday",
        f"{OWN}\n\nThanks,\nCan you call me on Friday",
        "",
    ),
    (
        "a postscript keeps the whole end",
        f"{OWN}\n\nRegards,\nBo\n\nPS: I moved to Lisbon.",
        f"{OWN}\n\nRegards,\nBo\n\nPS: I moved to Lisbon.",
        "",
    ),
    ("device line", f"{OWN}\n\nSent from my iPhone", OWN, "Sent from my iPhone"),
    (
        "no device line",
        "Sent from my desk, is much easier than my mobile phone.",
        "Sent from my desk, is much easier than my mobile phone.",
        "",
    ),
    ("list footer", f"{OWN}\n\n{'_' * 40}\nAcme mailing list\nhttp://lists.example.org/x", OWN, ""),
    ("Apache footer", f"{OWN}\n\n{'-' * 40}\nTo unsubscribe, e-mail: a@example.org\n", OWN, ""),
    (
        "PGP armour",
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA1\n\n{OWN}\n"
        "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----",
        OWN,
        "",
    ),
    ("only quoted", QUOTE, "", ""),
    ("nothing", "", "", ""),
]


@pytest.mark.parametrize(("text", "own", "signature"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_split(text: str, own: str, signature: str | None) -> None:
    """Each row is one rule; a signature of None is only required to exist."""
    reply = split_reply(text)
    assert reply.text == own
    assert reply.signature if signature is None else reply.signature == signature


@pytest.mark.parametrize("lines", ATTRIBUTIONS, ids=lambda lines: lines[0][:30])
def test_attributions(lines: list[str]) -> None:
    """The wording of mail clients, wrapped or not, is recognised whatever stands above it and goes with the quote."""
    text = ["Own words", *lines, QUOTE]
    assert attribution_start(text, len(lines)) == 1
    assert split_reply("\n".join(text)).text == "Own words"
    assert split_reply("\n".join(["Own words", "", *lines, "", "Theirs, unmarked"])).text == "Own words"


@pytest.mark.parametrize("line", NO_ATTRIBUTIONS)
def test_lines_that_only_look_like_attributions(line: str) -> None:
    """They are the sender's words."""
    assert split_reply(f"{line}\n\nand more").text == f"{line}\n\nand more"


def test_what_was_left_out_is_told() -> None:
    """A caller can tell quoted, forwarded and unmarked text from an empty mail."""
    assert split_reply("Hi").quoted is False
    assert split_reply(QUOTE).quoted
    forward = split_reply("FYI\n\nBegin forwarded message:\n\na\nb")
    assert forward.forwarded
    assert forward.unmarked_lines == 3


WORDS = st.text(st.sampled_from("abcdefgh ,.'!éß"), min_size=1, max_size=30).filter(str.strip)


@given(st.lists(st.one_of(WORDS, WORDS.map("> {}".format), WORDS.map("- {}".format), st.just("")), max_size=30))
def test_no_unquoted_line_is_lost(lines: list[str]) -> None:
    """Every line without a quote mark is in the text or, at a sign-off, in the signature; no quoted line is."""
    reply = split_reply("\n".join(lines))
    own = [line for line in lines if line.strip() and not is_quoted(line)]
    assert [line for line in reply.text.split("\n") if line.strip()] == own


@given(st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=5), st.sampled_from(ATTRIBUTIONS))
def test_answers_below_any_attribution_are_kept(blocks: list[list[str]], attribution: list[str]) -> None:
    """Bottom-posted and inline answers survive, in order, below the attributions of all languages."""
    lines = [*attribution, QUOTE, ""]
    for block in blocks:
        lines += [*block, "", QUOTE, ""]
    kept = [line for line in split_reply("\n".join(lines)).text.split("\n") if line.strip()]
    assert kept == [line for block in blocks for line in block]


@given(st.text())
def test_never_raises(text: str) -> None:
    """Any text is some mail, and what is kept was there."""
    reply = split_reply(text)
    given_lines = set(text.split("\n"))
    assert all(not line or line in given_lines for line in reply.text.split("\n"))


REAL = os.environ.get("INGEST_REAL_FIXTURES")
# Whole bodies that begin with another mail's header block: forwarded without a word of the sender's own.
FORWARDED_WITHOUT_COMMENT = {"email_pl_1_1.txt", "email_pl_1_2.txt", "email_pl_1_3.txt"}
# The body begins with an attribution above an unmarked quote.
ONLY_QUOTED = {"multiline_on.txt"}
# First and last line of what the sender wrote, where the file holds more than that. Files not listed here: every
# unquoted line above the first quote is asserted to be kept.
ENDS = {
    "begins_with_signature.txt": ("Thank you, Sonya Johnson.", "hope you can join."),
    "email_1_3.txt": ("Oh thanks.", "-Abhishek Kona"),
    "email_1_4.txt": ("Awesome! I haven't had another problem with it.",) * 2,
    "email_1_8.txt": ("I will reply under this one", "and under this."),
    "email_2_1.txt": ("Outlook with a reply",) * 2,
    "email_2_2.txt": ("Outlook with a reply directly above line",) * 2,
    "email_3_1.txt": ("First reply.", "This is fairly common; nothing too hard here!"),
    "email_bullets.txt": ("test 2 this should list second", "   - and another"),
    "email_danish_1.txt": ("Hej Peter,", "Tak for din mail. Det lyder godt."),
    "email_danish_2.txt": ("Hej Hanne,", "Jeg har modtaget filerne."),
    "email_danish_4.txt": ("Hej,", "Svar."),
    "email_headers_no_delimiter.txt": ("And another reply!",) * 2,
    "email_ja_1_2.txt": ("田中様", "以上、よろしくお願いいたします"),
    "email_nl_1_2.txt": ("Outlook met een antwoord",) * 2,
    "email_partial_quote_header.txt": ("On your remote host you can run:", "fails, the tunnel is not working."),
    "email_sv_anon_1.txt": ("Hej", "flexibel fram till kl 15 idag."),
    "email_swedish_2.txt": ("Hello Anna,", "/John"),
    "multi_header.txt": ("No problem. I’ll just start a new order.",) * 2,
    "multiline_on_de.txt": ("Am heutigen Tage",) * 2,
    "pathological.txt": (
        "I think you're onto something. I will try to fix the problem as soon as I",
        "get back to a computer.",
    ),
}
INTRODUCES_A_QUOTE = re.compile(
    r"(?:On|Den|Am|ons|2022年).*(?:\d|wrote:$)|\*?(?:From|Fra|Van):|\s?[_-]{4,}|Original Message processed"
)


def _real_replies() -> list[Path]:
    return sorted(Path(REAL, "email_replies").rglob("*.txt")) if REAL else []


@pytest.mark.skipif(not REAL, reason="INGEST_REAL_FIXTURES is not set")
@pytest.mark.parametrize("path", _real_replies(), ids=lambda path: path.name)
def test_real_replies(path: Path) -> None:
    """47 real bodies in seven languages: every unquoted line above the quote is kept or a signature's."""
    text = path.read_text("utf-8")
    if path.name == "begins_with_signature.txt":
        text = quopri.decodestring(path.read_bytes()).decode("utf-8")  # stored as it was transferred
    reply = split_reply(text)
    if path.name in FORWARDED_WITHOUT_COMMENT | ONLY_QUOTED:
        assert (reply.text, reply.quoted) == ("", True)
        return
    kept = [line for line in reply.text.split("\n") if line.strip()]
    if path.name in ENDS:
        assert (kept[0], kept[-1].rstrip()) == ENDS[path.name]
    accounted = {*kept, *reply.signature.split("\n")}
    for line in text.split("\n"):
        if is_quoted(line) or INTRODUCES_A_QUOTE.match(line):
            break
        assert not line.strip() or line in accounted or line.strip() == reply.signature.split("\n")[-1].strip()


# Files whose quote carries no mark. In all others every line that is not quoted belongs to the sender.
UNMARKED_QUOTES = {
    "email_2_1.txt", "email_2_2.txt", "email_2_3.txt", "email_3_1.txt", "email_danish_2.txt", "email_danish_4.txt",
    "email_gmail.txt", "email_headers_no_delimiter.txt", "email_nl_1_2.txt", "email_pl_1_1.txt", "email_pl_1_2.txt",
    "email_pl_1_3.txt", "multi_header.txt", "multiline_on.txt", "multiline_on_de.txt",
}  # fmt: skip


@pytest.mark.skipif(not REAL, reason="INGEST_REAL_FIXTURES is not set")
@pytest.mark.parametrize("path", _real_replies(), ids=lambda path: path.name)
def test_no_line_of_a_real_reply_is_lost(path: Path) -> None:
    """In seven languages: what is neither quoted, nor introduces a quote, nor a list's footer, is text or signature."""
    text = path.read_text("utf-8")
    if path.name == "begins_with_signature.txt":
        text = quopri.decodestring(path.read_bytes()).decode("utf-8")
    reply = split_reply(text)
    assert bool(reply.unmarked_lines) == (path.name in UNMARKED_QUOTES)
    if path.name in UNMARKED_QUOTES:
        return
    lines = text.split("\n")
    left_out: set[int] = set()
    for index, line in enumerate(lines):
        start = attribution_start(lines, index)
        left_out |= set() if start is None else set(range(start, index + 1))
        if re.fullmatch("_{40,}", line):
            left_out |= set(range(index, index + 4))
    found = {line.strip() for line in (*reply.text.split("\n"), *reply.signature.split("\n"))}
    own = [line.strip() for index, line in enumerate(lines) if index not in left_out and not is_quoted(line)]
    assert [line for line in own if line and line not in found] == []


def test_a_block_below_the_senders_name_is_their_signature() -> None:
    """Only their full name, only when nothing but contact lines follow, and only at the end of what they wrote."""
    block = "Ana Ferreira\nHead of Logistics, Vela Logistics\n+351 21 555 0123"
    for name in ("Ana Ferreira", "Ferreira, Ana", "ana ferreira"):
        reply = split_reply(f"{OWN}\n\n{block}", name)
        assert (reply.text, reply.signature) == (OWN, block)
    for name in ("", "Ana", "Rui Costa", "Ana Maria Ferreira"):
        assert split_reply(f"{OWN}\n\n{block}", name).text == f"{OWN}\n\n{block}"
    for text in (f"{block}\n\nI moved to Lisbon.", "Ana Ferreira\nis my full name.", "Ana Ferreira"):
        assert split_reply(text, "Ana Ferreira").text == text


@given(st.lists(st.one_of(WORDS, st.sampled_from(["Ana Ferreira", "Kind regards,", "-- ", "+351 21 555 0123", ""]))))
def test_every_line_is_text_or_signature(lines: list[str]) -> None:
    """Splitting off a signature loses nothing."""
    reply = split_reply("\n".join(lines), "Ana Ferreira")
    kept = sorted(line.strip() for part in (reply.text, reply.signature) for line in part.split("\n") if line.strip())
    assert kept == sorted(line.strip() for line in lines if line.strip())

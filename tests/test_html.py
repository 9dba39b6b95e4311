"""HTML to text: what a reader would see, all of it, whatever the markup."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.sources.html import MAX_HTML_CHARS, html_to_text

CASES = [
    ("words of neighbouring blocks stay apart", "<div>one</div><div>two</div>", "one\ntwo"),
    ("inline elements do not split words", "<p>w<i>or</i>d, <b>bold</b> end</p>", "word, bold end"),
    ("a paragraph is set off by one blank line", "<p>a</p><p></p><p>b</p>", "a\n\nb"),
    ("unclosed paragraphs", "<p>a<p>b", "a\n\nb"),
    ("line breaks; blank lines do not add up", "a<br>b<br><br><br>c", "a\nb\n\nc"),
    ("whitespace collapses, no-break spaces too", "a \n\t b&nbsp;&nbsp;c", "a b c"),
    ("list items", "<ul><li>a</li><li><p>b</p></li></ul>", "- a\n\n- b"),
    ("table rows are lines, cells are words", "<table><tr><td>A<td>B<tr><td>C</table>", "A B\nC"),
    ("preformatted text keeps its lines", "<pre>x\n  y</pre>", "x\n  y"),
    (
        "scripts, styles, titles and comments are left out",
        "<title>t</title><style>s</style>a<!--c--><script>j</script>",
        "a",
    ),
    ("hidden by attribute", "<p hidden>no</p>yes", "yes"),
    ("hidden by style", '<div style="color:red; DISPLAY : none">no</div>yes', "yes"),
    ("hidden with its children", '<div style="visibility:hidden"><p>no <b>no</b></p></div>yes', "yes"),
    ("hidden by Outlook", '<span style="mso-hide:all">no</span>yes', "yes"),
    ("entities", "&lt;a&gt; &amp; &eacute;&#8364;", "<a> & é€"),
    ("a lone less-than sign is text", "1 < 2", "1 < 2"),
    ("an unclosed tag loses only itself", "<p>before <b", "before"),
    ("NULs are dropped", "a\x00b", "ab"),
    ("lone surrogates do no harm", "a\ud800b", "a?b"),
    ("an invisible preheader is not a line", "<div>\u200b\u200c&nbsp;</div><div>a</div>", "a"),
    ("plain text", "plain", "plain"),
    ("nothing", "", ""),
]


@pytest.mark.parametrize(("html", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_text_as_seen(html: str, text: str) -> None:
    """Each row is one rule of the walk."""
    assert html_to_text(html) == text


def test_quotes_are_marked_on_request() -> None:
    """Quoted mail in HTML looks like quoted mail in plain text, nested quotes and answers between quotes too."""
    html = "<div>top</div><blockquote>q1<p>q2</p><blockquote>deep</blockquote></blockquote><div>answer</div>"
    assert html_to_text(html, mark_quotes=True) == "top\n\n> q1\n>\n> q2\n>\n> > deep\n\nanswer"
    assert ">" not in html_to_text(html)


def test_yahoo_quotes_are_marked() -> None:
    """Yahoo does not use blockquote."""
    assert html_to_text('a<div class="yahoo_quoted x">b</div>', mark_quotes=True) == "a\n\n> b"


HOSTILE = {
    "100,000 nested blocks": ("<div>" * 100_000 + "kept", "kept"),
    "100,000 nested inline elements": ("<b>" * 100_000 + "kept", "kept"),
    "unclosed formatting cloned into every block": (
        "".join(f'<p><font color="{n}">' for n in range(50_000)) + "kept",
        "kept",
    ),
    "100,000 options": ("<select>" + "<option>" * 100_000 + "kept", "kept"),
    "half a million open brackets": ("<" * 500_000, "<" * 500_000),
    "half a million unclosed tags": ("<a '" * 500_000, ""),
}


@pytest.mark.parametrize(("html", "text"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_markup_takes_bounded_time(html: str, text: str) -> None:
    """Each of these takes the bare parser or a recursive walk seconds to minutes, or a stack overflow."""
    started = time.perf_counter()
    assert html_to_text(html) == text
    assert time.perf_counter() - started < 5


def test_depth_limit_keeps_the_text() -> None:
    """Ignored start tags lose no words on any level."""
    html = "".join(f"<div>w{n}" for n in range(3_000))
    assert html_to_text(html).split() == [f"w{n}" for n in range(3_000)]


def test_input_is_capped() -> None:
    """What is beyond the cap is not parsed."""
    assert html_to_text("a" + " " * MAX_HTML_CHARS + "b") == "a"


@given(st.text(max_size=300))
def test_never_raises(html: str) -> None:
    """Any characters are some HTML."""
    html_to_text(html)
    html_to_text(html, mark_quotes=True)


@given(
    st.lists(st.text("abcxyz0189", min_size=1, max_size=8), max_size=20),
    st.sampled_from(["div", "p", "li", "td", "span"]),
)
def test_no_word_is_lost_or_glued(words: list[str], tag: str) -> None:
    """All words come out, in order, whatever element holds them."""
    html = "<table><tr>" + " ".join(f"<{tag}>{word}</{tag}>" for word in words) + "</table>"
    if tag in {"div", "p", "span", "li"}:
        html = html.removeprefix("<table><tr>").removesuffix("</table>")
    assert html_to_text(html).replace("- ", "").split() == words

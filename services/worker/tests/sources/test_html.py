"""HTML: what a reader sees and where it stands in the page's source, whatever the page is made of."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waybill_worker.sources.excerpts import BREAK, Kind, Lines, Part
from waybill_worker.sources.html import NO_TEXT, TOO_NESTED, parts
from waybill_worker.sources.parsed import Note
from waybill_worker.sources.roots import Refusal

PAGE = """<!doctype html>
<html><head><title>The kettle</title><script>
var unseen = "<p>unseen</p>";
</script><style>p { color: red }</style></head>
<body><nav>Home | About</nav>
<p>Water boils
at <b>one hundred</b>&nbsp;degrees &amp; more.</p><p>In the same line.</p>
<h1>Care of <i>steel</i></h1><p>Vinegar removes chalk.<br>Wash it after.</p>
<ul><li>first item<ul><li>inner item</li></ul></li><li><p>last item</p></li></ul>
<ol><li>one</li>
<li>two</li></ol>
<h2>Parts</h2>
<table><caption>All parts</caption><tr><th>Part</th><th>Meaning</th></tr><tr><td>lid</td>
<td><p>what closes the kettle</p></td></tr></table>
<div hidden>unseen</div><div style="display: none">unseen</div><p aria-hidden="true">unseen</p>
<pre>
def boil():
    return 100
</pre>
<dl><dt>Spout</dt><dd>Where water comes out.</dd></dl>
<p>The last words.</p>
</body></html>"""


def part_of(page: str | bytes, media_type: str = "") -> Part:
    found = list(parts(page if isinstance(page, bytes) else page.encode(), media_type))
    assert isinstance(found[0], Part)
    return found[0]


def blocks_of(page: str | bytes, media_type: str = "") -> list[tuple[Kind, str, int, str]]:
    part = part_of(page, media_type)
    lines = Lines(part.text)
    return [(b.kind, b.heading, lines.number_at(b.start), part.text[b.start : b.end]) for b in part.blocks]


def text_of(page: str | bytes, media_type: str = "") -> str:
    return " ".join(text for _, _, _, text in blocks_of(page, media_type))


def test_what_is_seen_is_read_with_its_heading_and_its_line_in_the_source() -> None:
    assert blocks_of(PAGE) == [
        (Kind.PROSE, "The kettle", 6, "Water boils\nat one hundred\xa0degrees & more."),
        (Kind.PROSE, "The kettle", 7, "In the same line."),
        (Kind.PROSE, "Care of steel", 8, f"Vinegar removes chalk.{BREAK}Wash it after."),
        (Kind.PROSE, "Care of steel", 9, "- first item"),
        (Kind.PROSE, "Care of steel", 9, "  - inner item"),
        (Kind.PROSE, "Care of steel", 9, "- last item"),
        (Kind.PROSE, "Care of steel", 10, "1. one"),
        (Kind.PROSE, "Care of steel", 11, "2. two"),
        (Kind.PROSE, "Care of steel > Parts", 13, "All parts"),
        (Kind.TABLE, "Care of steel > Parts", 13, "| Part | Meaning |"),
        (Kind.TABLE, "Care of steel > Parts", 13, "| lid | what closes the kettle |"),
        (Kind.CODE, "Care of steel > Parts", 17, "def boil():\n    return 100\n"),
        (Kind.PROSE, "Care of steel > Parts", 20, "Spout: Where water comes out."),
        (Kind.PROSE, "Care of steel > Parts", 21, "The last words."),
    ]


def test_a_page_in_one_line_is_cited_by_that_line() -> None:
    page = "<h1>A</h1>" + "".join(f"<p>Paragraph {number}.</p>" for number in range(50))
    assert {line for _, _, line, _ in blocks_of(page)} == {1}


def test_a_term_and_what_it_means_are_one_sentence() -> None:
    page = "<dl><dt>lid<dd>Closes it.<dt>spout:<dt>mouth<dd><p>Lets water out.</p><p>It is bent.</p></dl>"
    assert [text for _, _, _, text in blocks_of(page)] == [
        "lid: Closes it.",
        "spout:",
        "mouth: Lets water out.",
        "It is bent.",
    ]


def test_tables_that_only_arrange_are_read_as_paragraphs() -> None:
    page = "<table><tr><td>Menu<td><table><tr><td>a<td>b</table></table><table><tr><td>alone</table>"
    assert [(kind, text) for kind, _, _, text in blocks_of(page)] == [
        (Kind.PROSE, "Menu"),
        (Kind.TABLE, "| a | b |"),
        (Kind.PROSE, "alone"),
    ]


@pytest.mark.parametrize("tag", ["script", "style", "nav", "template", "noscript", "select", "svg", "iframe"])
def test_what_no_reader_sees_is_left_out(tag: str) -> None:
    assert text_of(f"<p>seen</p><{tag}>unseen</{tag}><p>again</p>") == "seen again"


def test_entities_are_characters_and_those_that_a_page_declares_are_not_expanded() -> None:
    assert text_of("<p>&lt;b&gt; &eacute;&#233;&#x20AC; &nosuch;</p>") == "<b> éé€ &nosuch;"
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    head = f'<?xml version="1.0"?>\n<!DOCTYPE html [<!ENTITY l0 "ha">{laughs}]>\n'
    page = f"{head}<html><body>\n<p>&l9; text</p></body></html>"
    assert blocks_of(page) == [(Kind.PROSE, "", 4, "&l9; text")]


TEXT = "Übermäßig schöne Grüße aus Köln – 20 €"


@pytest.mark.parametrize(
    ("page", "media_type"),
    [
        (codecs.BOM_UTF8 + f"<p>{TEXT}</p>".encode(), "text/html; charset=iso-8859-1"),
        (codecs.BOM_UTF16_LE + f"<p>{TEXT}</p>".encode("utf-16-le"), ""),
        (codecs.BOM_UTF16_BE + f"<p>{TEXT}</p>".encode("utf-16-be"), "text/html"),
        (f"<p>{TEXT}</p>".encode("cp1252"), 'text/html; charset="ISO-8859-1"'),
        (f"<meta charset=windows-1252><p>{TEXT}</p>".encode("cp1252"), "text/html"),
        (f'<meta http-equiv="Content-Type" content="text/html; charset=Latin1"><p>{TEXT}</p>'.encode("cp1252"), ""),
        (f'<?xml version="1.0" encoding="windows-1252"?><html><p>{TEXT}</p></html>'.encode("cp1252"), ""),
        (f"<meta charset=utf-16><p>{TEXT}</p>".encode(), ""),
        (f"<meta charset=nosuch><p>{TEXT}</p>".encode(), "text/html; charset=punycode"),
        (f"<p>{TEXT}</p>".encode(), ""),
        (f"<p>{TEXT}</p>".encode("cp1252"), ""),
    ],
)
def test_characters_are_read_as_marked_as_sent_as_declared_or_as_they_look(page: bytes, media_type: str) -> None:
    assert text_of(page, media_type) == TEXT


def test_russian_bytes_that_nothing_declares_are_recognised() -> None:
    text = "Это предложение написано на русском языке, чтобы кодировка была узнана сама собой."
    assert text_of(f"<p>{text}</p>".encode("cp1251")) == text


def test_characters_that_cannot_be_read_are_replaced_and_counted() -> None:
    found = list(parts(codecs.BOM_UTF8 + b"<p>one \xff two \xfe three</p>"))
    assert found[1:] == [Note("2 characters could not be decoded and were replaced")]


@pytest.mark.parametrize(
    "page", ["", "   ", "<p></p>", "<nav>only links</nav>", "<!-- a -->", "<html><head><title>t</title>"]
)
def test_a_page_without_visible_text_is_refused(page: str) -> None:
    with pytest.raises(Refusal, match=NO_TEXT):
        part_of(page)


def test_given_elements_nested_past_reason_then_the_page_is_refused() -> None:
    with pytest.raises(Refusal, match=TOO_NESTED):
        part_of("<div>" * 100_000 + "deep")
    assert text_of("<div>" * 1_000 + "deep" + "</div>" * 1_000) == "deep"


WORDS = st.lists(st.sampled_from(["kettle", "steel", "a&lt;b", "\n", "  ", "é", "<b>bold</b>", "<br>"]), max_size=6)
TAGS = st.sampled_from(
    ["p", "div", "li", "td", "tr", "table", "ul", "ol", "h1", "h2", "pre", "dt", "dd", "nav", "b", "em"]
)


@given(st.lists(st.tuples(TAGS, WORDS, st.booleans(), st.sampled_from(["", "\n", "\n\n"])), max_size=20))
@settings(deadline=None)
def test_blocks_stand_in_order_inside_the_text_and_no_line_is_past_the_page(
    pieces: list[tuple[str, list[str], bool, str]],
) -> None:
    page = "".join(
        f"<{tag}>{' '.join(words)}{f'</{tag}>' if closed else ''}{gap}" for tag, words, closed, gap in pieces
    )
    try:
        part = part_of(page)
    except Refusal:
        return
    ends = [0]
    for block in part.blocks:
        assert ends[-1] <= block.start < block.end <= len(part.text)
        assert part.text[block.start : block.end].strip()
        ends.append(block.end)
    assert part.text.count("\n") <= page.count("\n")

"""The process that parses: what it gives, and that nothing it is given harms whoever asked."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waybill_worker.sources import parser as parser_module
from waybill_worker.sources.excerpts import Part
from waybill_worker.sources.formats import Format
from waybill_worker.sources.parsed import MAX_PARSED_CHARS, Note
from waybill_worker.sources.parser import BROKE_OFF, TOO_SLOW, Parser, Stopped
from waybill_worker.sources.roots import Refusal
from worker_files import code_cell, encrypted, lines_at, markdown_cell, notebook, pdf, stream_output, text_pdf

PAGE = b"<html><h1>Kettle</h1><p>It boils.</p><table><tr><td>a<td>b</table><ul><li>x<li>y</ul><pre>z</pre></html>"
PAPER = text_pdf("The first page.", "The second page.\nIt has two lines.")
NOTEBOOK = notebook(markdown_cell("# A\n\nSome *words*.\n\n- x\n- y"), code_cell("x = 1\n# y", stream_output("out")))
FILES = [
    (Format.HTML, PAGE),
    (Format.PDF, PAPER),
    (Format.PDF, pdf([lines_at(72, 700, "Plain.")], compressed=False)),
    (Format.PDF, encrypted(PAPER, "", "RC4-128")),
    (Format.NOTEBOOK, NOTEBOOK),
]


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as started:
        # Its process is there before any test, which so leaves none behind.
        parts_of(started, Format.HTML, PAGE)
        yield started


def parts_of(parser: Parser, kind: Format, data: bytes) -> list[Part]:
    return [part for part in parser.parts(kind, "", data) if isinstance(part, Part)]


def outcome(parser: Parser, kind: Format, data: bytes) -> tuple[list[Part], str]:
    """The parts of a source, or why it was refused."""
    try:
        return parts_of(parser, kind, data), ""
    except Refusal as refusal:
        return [], str(refusal)


def test_sources_of_all_formats_come_back_as_parts(parser: Parser) -> None:
    assert parts_of(parser, Format.PDF, PAPER)[0].text == "The first page."
    assert parts_of(parser, Format.HTML, PAGE)[0].text.startswith("It boils.")
    assert [part.cell for part in parts_of(parser, Format.NOTEBOOK, NOTEBOOK)] == [1, 2, 2]


def test_a_refusal_is_raised_here_and_the_process_goes_on(parser: Parser) -> None:
    with pytest.raises(Refusal, match="is not a notebook"):
        parts_of(parser, Format.NOTEBOOK, b"{}")
    process = parser._process
    assert parts_of(parser, Format.HTML, PAGE)
    assert parser._process is process


def test_given_a_process_that_is_killed_then_the_source_is_refused_and_the_next_is_read() -> None:
    with Parser() as own:
        parts_of(own, Format.HTML, PAGE)
        assert own._process is not None
        os.kill(own._process.pid, signal.SIGKILL)
        own._process.wait()
        with pytest.raises(Refusal, match=BROKE_OFF):
            parts_of(own, Format.HTML, PAGE)
        assert parts_of(own, Format.HTML, PAGE)


def test_given_a_source_that_takes_too_long_then_the_pages_before_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with Parser() as own:
        pages = own.parts(Format.PDF, "", text_pdf(*(f"Page {number}." for number in range(1_500))))
        first = next(pages)
        assert own._process is not None
        os.kill(own._process.pid, signal.SIGXCPU)
        rest = list(pages)
        assert isinstance(first, Part)
        assert first.page == 1
        assert rest[-1] == Note(f"was cut, what follows {TOO_SLOW}")


def test_given_too_many_sources_that_end_the_process_then_the_others_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parser_module, "WALL_SECONDS", 0.0)
    with Parser() as own:
        for _ in range(parser_module.MAX_GIVEN_UP):
            with pytest.raises(Refusal, match=TOO_SLOW):
                parts_of(own, Format.HTML, PAGE)
        with pytest.raises(Refusal, match="left out, 10 other files"):
            parts_of(own, Format.HTML, PAGE)


def test_given_nobody_who_wants_it_any_more_then_parsing_stops() -> None:
    with Parser(lambda: True) as own, pytest.raises(Stopped):
        parts_of(own, Format.PDF, PAPER)


def test_no_process_outlives_its_parser() -> None:
    own = Parser()
    parts_of(own, Format.HTML, PAGE)
    process = own._process
    assert process is not None
    own.close()
    assert process.returncode is not None


def test_given_a_parser_that_is_dropped_then_its_process_ends_with_its_stdin() -> None:
    own = Parser()
    parts_of(own, Format.HTML, PAGE)
    process = own._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    own.close()


HOSTILE = {
    "an attribute for every word": (Format.HTML, b"<p " + b" ".join(b"a%d=b" % n for n in range(15_000)) + b">x</p>"),
    "nested elements": (Format.HTML, b"<b>" * 300_000 + b"x"),
    "a megabyte in a line": (Format.HTML, b"<p>" + b"word " * 400_000),
    "unclosed marks": (Format.HTML, b"<" * 2_000_000),
    "nothing but references": (Format.HTML, b"&" * 2_000_000),
    "nested tables": (Format.HTML, b"<table><tr><td>a<td>" * 600),
    "half a character": (Format.HTML, b"\xff\xfe<\0p\0>\0a\0b"),
    "many objects": (Format.PDF, b"%PDF-1.7\n" + b"1 0 obj\n" * 200_000),
    "nested arrays": (Format.PDF, text_pdf("x").replace(b"[0 0 595 842]", b"[" * 200_000)),
    "open brackets": (Format.PDF, b"%PDF-1.7\n1 0 obj (" + b"(" * 2_000_000),
    "a table of zeros": (Format.PDF, b"%PDF-1.7\nxref\n0 99999999\n" + b"0000000000 65535 f \n" * 100_000),
    "nested quotations": (Format.NOTEBOOK, notebook(markdown_cell(">" * 200_000 + "a"))),
    "nested lists": (Format.NOTEBOOK, notebook(markdown_cell("- " * 50_000 + "a"))),
    "quotes in code": (Format.NOTEBOOK, notebook(code_cell("'''" * 200_000))),
    "brackets in code": (Format.NOTEBOOK, notebook(code_cell("(" * 200_000))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_sources_are_read_or_refused(parser: Parser, name: str) -> None:
    kind, data = HOSTILE[name]
    found, refused = outcome(parser, kind, data)
    assert bool(found) != bool(refused)
    assert sum(len(part.text) for part in found) <= MAX_PARSED_CHARS
    assert parts_of(parser, Format.HTML, PAGE)


CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1), st.sampled_from(["cut", "drop", "repeat", "put"]), st.integers(1, 40), st.binary(max_size=12)
    ),
    min_size=1,
    max_size=6,
)


def changed(data: bytes, changes: list[tuple[float, str, int, bytes]]) -> bytes:
    for at, what, length, put in changes:
        start = int(at * len(data))
        before, piece, after = data[:start], data[start : start + length], data[start + length :]
        data = {
            "cut": before,
            "drop": before + after,
            "repeat": before + piece * (length * 20) + after,
            "put": before + put + after,
        }[what]
    return data


@given(st.sampled_from(FILES), CHANGES, st.sampled_from([None, Format.HTML, Format.PDF, Format.NOTEBOOK]))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_files_are_read_or_refused_and_blocks_stand_inside_their_parts(
    parser: Parser, file: tuple[Format, bytes], changes: list[tuple[float, str, int, bytes]], other: Format | None
) -> None:
    kind, data = file
    found, refused = outcome(parser, other or kind, changed(data, changes))
    assert refused not in (TOO_SLOW, BROKE_OFF)
    for part in found:
        assert part.text.strip()
        assert all(0 <= block.start <= block.end <= len(part.text) for block in part.blocks)

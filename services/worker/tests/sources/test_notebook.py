"""Notebooks: cells under their numbers and headings, outputs under a cap, and files that are none."""

from __future__ import annotations

import json

import pytest
from waybill_worker.sources import notebook as notebook_module
from waybill_worker.sources.excerpts import Excerpt, Kind, Part, cut
from waybill_worker.sources.notebook import MAX_OUTPUT_CHARS, NO_NOTEBOOK, parts
from waybill_worker.sources.parsed import Note
from waybill_worker.sources.roots import Refusal
from worker_files import code_cell, markdown_cell, notebook, result_output, stream_output


def excerpts_of(data: bytes) -> list[Excerpt]:
    return [excerpt for part in parts(data) if isinstance(part, Part) for excerpt in cut("a.ipynb", part)]


def notes_of(data: bytes) -> list[str]:
    return [note.text for note in parts(data) if isinstance(note, Note)]


def test_cells_are_numbered_and_stand_under_the_headings_of_cells_before() -> None:
    data = notebook(
        markdown_cell(["# Kettles\n", "\n", "Water boils here.\n"]),
        markdown_cell("## Steel"),
        code_cell(
            '# The chalk is removed.\ndef clean():\n    """Use vinegar."""\n',
            stream_output(["\x1b[31mall\x1b[0m clean\n"]),
            result_output("42", **{"text/html": "<b>42</b>"}),
        ),
        markdown_cell("It shines."),
    )
    assert [(e.cell, e.line, e.kind, e.heading, e.text) for e in excerpts_of(data)] == [
        (1, 3, Kind.PROSE, "Kettles", "Water boils here."),
        (3, 1, Kind.COMMENT, "Kettles > Steel", "# The chalk is removed."),
        (3, 2, Kind.CODE, "Kettles > Steel", 'def clean():\n    """'),
        (3, 3, Kind.PROSE, "Kettles > Steel > clean", "Use vinegar."),
        (3, 1, Kind.CODE, "Kettles > Steel", "all clean\n42"),
        (4, 1, Kind.PROSE, "Kettles > Steel", "It shines."),
    ]


def test_the_language_of_the_notebook_tells_what_a_comment_is() -> None:
    data = notebook(code_cell("// The lid closes.\nlet x = 1"), language="javascript")
    assert excerpts_of(data)[0].kind is Kind.COMMENT


def test_a_notebook_of_format_3_is_read() -> None:
    cells = [{"cell_type": "code", "input": ["x = 1"], "outputs": [{"output_type": "pyout", "text": ["one"]}]}]
    data = json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}).encode()
    assert [(e.cell, e.text) for e in excerpts_of(data)] == [(1, "x = 1"), (1, "one")]


def test_what_a_cell_raised_is_text_too() -> None:
    raised = {"output_type": "error", "ename": "ValueError", "evalue": "no kettle", "traceback": ["..."]}
    assert [e.text for e in excerpts_of(notebook(code_cell("boil()", raised)))] == ["boil()", "ValueError: no kettle"]


def test_outputs_over_the_cap_are_cut_and_told() -> None:
    data = notebook(code_cell("x", stream_output("y" * MAX_OUTPUT_CHARS), stream_output("never seen")))
    given = [e for e in excerpts_of(data) if e.text != "x"]
    assert sum(len(e.text) for e in given) == MAX_OUTPUT_CHARS
    assert "outputs over 10,000 characters" in notes_of(data)[0]


def test_given_more_cells_than_are_taken_then_the_first_count_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook_module, "MAX_CELLS", 2)
    monkeypatch.setattr(notebook_module, "TOO_MANY_CELLS", "was cut")
    data = notebook(*(markdown_cell(f"Cell {number}.") for number in range(3)))
    assert [e.cell for e in excerpts_of(data)] == [1, 2]
    assert notes_of(data) == ["was cut"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just words",
        b"[]",
        b"{}",
        b'{"cells": []}',
        b'{"nbformat": 4, "cells": {}}',
        b'{"nbformat": "4", "cells": []}',
        notebook(markdown_cell("A cell."))[:-20],
        b'{"nbformat": 4, "cells": ' + b"[" * 1_000_000,
        b'{"nbformat": ' + b"9" * 100_000 + b"}",
    ],
)
def test_what_is_no_notebook_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal, match=NO_NOTEBOOK):
        excerpts_of(data)


def test_cells_that_are_not_what_they_say_are_passed_over() -> None:
    odd = [
        1,
        None,
        [],
        {"cell_type": 3},
        {"cell_type": "code", "source": {"a": 1}, "outputs": [1, {"text": [1, None]}]},
    ]
    data = json.dumps({"nbformat": 4, "metadata": [], "cells": [*odd, markdown_cell("Here.")]}).encode()
    assert [(e.cell, e.text) for e in excerpts_of(data)] == [(6, "Here.")]

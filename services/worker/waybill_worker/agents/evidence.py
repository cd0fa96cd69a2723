"""What the shipped agents hand to each other, and to whoever reads the report. The JSON field names are stable.

Positions: `path` is the source as the task names it (a document's name, or a path), `line` counts from 1 and is
where the text beside it begins. A PDF has pages, a notebook cells: `page` or `cell` counts from 1, `line` from its
beginning, and neither field is there for other sources. Texts are exactly as in the source, with line ends as newline
characters; of HTML and PDF as far as a reader sees them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

MAX_PASSAGE_CHARS = 10_000
"""Longest passage that is taken from anyone; the retriever's own are much shorter."""


def _is_empty(value: str) -> bool:
    return not value


def _is_zero(value: int) -> bool:
    return not value


PassageKind = Literal["prose", "comment", "table", "code"]


class Passage(BaseModel):
    """A piece of a source that bears on a question; at most 1,500 characters if it comes from the retriever."""

    path: str = Field(description="the source as the task names it")
    line: int = Field(ge=1, description="number of the line where the text begins, from 1; in the page or cell, if any")
    page: int = Field(default=0, ge=0, exclude_if=_is_zero, description="number of the page, from 1, if it has any")
    cell: int = Field(default=0, ge=0, exclude_if=_is_zero, description="number of the notebook's cell, from 1, if any")
    text: str = Field(max_length=MAX_PASSAGE_CHARS, description="exactly as in the source")
    kind: PassageKind = Field(
        default="prose",
        description="what the text is; a comment is prose with a marker before every line",
    )
    heading: str = Field(default="", description="the headings, or the class and function, that the text stands under")
    score: float = Field(default=0.0, description="how well it fits the question; comparable within one retrieval")


class Retrieval(BaseModel):
    """What the retriever returns: the best passages first, and what could not be read."""

    question: str
    passages: list[Passage]
    warnings: list[str] = Field(description="one for each source that does not count, naming it")
    source_count: int = Field(description="how many sources were read")


class Citation(BaseModel):
    """Where a sentence stands."""

    path: str = Field(description="the source as the task names it")
    line: int = Field(
        ge=1, description="number of the line where the quote begins, from 1; in the page or cell, if any"
    )
    page: int = Field(default=0, ge=0, exclude_if=_is_zero, description="number of the page, from 1, if it has any")
    cell: int = Field(default=0, ge=0, exclude_if=_is_zero, description="number of the notebook's cell, from 1, if any")
    quote: str = Field(description="exactly as in the source, line ends included")


class Claim(BaseModel):
    """One sentence that bears on the question, with every source that says it."""

    text: str = Field(description="the quote of the first citation with white space folded, or what a model wrote")
    citations: list[Citation] = Field(default=[], description="at least one, unless the claim is unsupported")
    score: float = Field(default=0.0, description="how well it fits the question, 1.0 for the best")
    supported: bool = Field(
        default=True,
        exclude_if=bool,
        description="false, and only then there, if a model wrote it and no quote of it stands in a source",
    )

    @model_validator(mode="after")
    def _cites(self) -> Claim:
        if self.supported and not self.citations:
            raise ValueError("a claim has at least one citation, unless it is marked unsupported")
        return self


class Section(BaseModel):
    """What the analyst returns: the claims that answer one question, in the order to read them."""

    question: str
    claims: list[Claim] = Field(description="empty if the sources say nothing about the question")
    warnings: list[str] = Field(default=[], description="passed on from the retrieval")
    model: str = Field(
        default="", exclude_if=_is_empty, description="the model that wrote the claims; not there if they are quotes"
    )


class NumberedSource(BaseModel):
    """An entry of a report's list of sources."""

    n: int = Field(ge=1, description="the number that the report cites, as [n]")
    path: str = Field(description="the source as the task names it")
    line: int = Field(
        ge=1, description="number of the line where the quote begins, from 1; in the page or cell, if any"
    )
    page: int = Field(default=0, ge=0, exclude_if=_is_zero, description="number of the page, from 1, if it has any")
    cell: int = Field(default=0, ge=0, exclude_if=_is_zero, description="number of the notebook's cell, from 1, if any")
    quote: str = Field(description="exactly as in the source, line ends included")


class Report(BaseModel):
    """What the writer returns."""

    report: str = Field(description="Markdown")
    sources: list[NumberedSource]
    warnings: list[str]

"""Answers questions from a folder of notes in one cited report: `python research.py FOLDER QUESTION...`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from waybill import Client, PlanBuilder
from waybill.core.task import Document, EventType


def plan_of(title: str, questions: Sequence[str]) -> PlanBuilder:
    """For each question a retriever and an analyst, which do not wait for each other's, and one writer for all."""
    plan = PlanBuilder()
    sections = []
    for number, asked in enumerate(questions, 1):
        question = plan.literal(asked)  # what somebody typed is data, also if there is a ${ in it
        found = plan.step(f"find-{number}", "retriever", question=question, limit=6)
        judged = plan.step(f"judge-{number}", "analyst", question=question, passages=found.output.passages)
        sections.append(judged)
    plan.step("write", "writer", goal=plan.literal(title), sections=sections)
    return plan


def notes_in(folder: Path) -> list[Document]:
    """The notes of a folder, to be sent along: the suite needs no access to it."""
    return [Document(path.name, "text/markdown", path.read_bytes()) for path in sorted(folder.glob("*.md"))]


async def research(client: Client, folder: Path, questions: Sequence[str]) -> str:
    """The report, in Markdown. Tells on stderr how far it is."""
    title = f"What {folder.name} says"
    async with client.run(plan=plan_of(title, questions), documents=notes_in(folder)) as run:
        async for event in run:
            if event.type is EventType.STEP_FINISHED:
                print(f"{event.step} has {event.step_state}", file=sys.stderr)
        report: str = (await run.result())["report"]
        return report


async def main(folder: str, *questions: str) -> None:
    """Ask the suite at WAYBILL_ADDRESS, or the one on this machine."""
    async with Client(os.environ.get("WAYBILL_ADDRESS", "127.0.0.1:7400")) as client:
        print(await research(client, Path(folder), questions))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

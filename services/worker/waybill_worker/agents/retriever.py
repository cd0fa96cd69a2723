"""The agent `retriever`: the passages of the task's sources that bear on a question, ranked by BM25."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from waybill import Context, agent
from waybill.core.limits import MAX_PATHS
from waybill_worker.agents.evidence import Retrieval
from waybill_worker.agents.index_cache import IndexCache
from waybill_worker.sources.corpus import Sources
from waybill_worker.sources.roots import Roots

MAX_PASSAGES = 100

_indexes = IndexCache()


@agent
async def retriever(
    ctx: Context,
    question: str,
    paths: Annotated[tuple[str, ...], Field(max_length=MAX_PATHS)] = (),
    limit: Annotated[int, Field(ge=1, le=MAX_PASSAGES)] = 12,
) -> Retrieval:
    """Find the passages that bear on a question, best first, in the documents of the task and below the given paths.

    Paths are files or folders that the operator allows. A source that cannot be read becomes a warning; if none can,
    the step fails and says why.
    """
    documents = await ctx.documents()
    ctx.progress("reading the sources")

    def retrieve() -> Retrieval:
        sources = Sources(documents, paths, Roots.from_environment())
        index = _indexes.index_of(sources, lambda: ctx.cancelled)
        return Retrieval(
            question=question,
            passages=index.best(question, limit),
            warnings=list(index.warnings),
            source_count=index.source_count,
        )

    found = await asyncio.to_thread(retrieve)
    ctx.progress(f"{len(found.passages)} passages from {found.source_count} sources", 1.0)
    return found

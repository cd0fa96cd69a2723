"""Three agents: one splits a file of orders by region, one sums a region up, one ranks what came out."""

from __future__ import annotations

import csv
from collections import defaultdict

from pydantic import BaseModel, PositiveInt

from waybill import Context, agent
from waybill.errors import Permanent


class Order(BaseModel):
    """A line of the file."""

    product: str
    quantity: PositiveInt
    cents: PositiveInt


class Region(BaseModel):
    """What a region ordered."""

    name: str
    orders: int
    cents: int


@agent
async def split_orders(ctx: Context, file: str) -> int:
    """Find the regions in a file that was sent with the task; add a step for each, and one that ranks them."""
    by_region: dict[str, list[Order]] = defaultdict(list)
    for row in csv.DictReader(await lines_of(ctx, file)):
        by_region[row.pop("region")].append(Order.model_validate(row))
    for number, (name, orders) in enumerate(by_region.items()):
        ctx.add_step(f"sum-{number}", "sum-region", {"name": name, "orders": [order.model_dump() for order in orders]})
    regions = [f"${{sum-{number}}}" for number in range(len(by_region))]
    ctx.add_step("rank", "rank-regions", {"regions": regions}, result=True)
    ctx.progress(f"{len(by_region)} regions", 1.0)
    return len(by_region)


async def lines_of(ctx: Context, file: str) -> list[str]:
    """The lines of a document of the task; no repetition would find one that was not sent."""
    for document in await ctx.documents():
        if document.name == file:
            return document.data.decode().splitlines()
    raise Permanent(f"no document {file} was sent with the task")


@agent
def sum_region(name: str, orders: list[Order]) -> Region:
    """Sum the orders of a region up. A plain function: regions are summed in several processes at once."""
    return Region(name=name, orders=len(orders), cents=sum(order.quantity * order.cents for order in orders))


@agent
async def rank_regions(regions: list[Region]) -> dict[str, object]:
    """Rank regions by what they ordered, as a table."""
    ranked = sorted(regions, key=lambda region: -region.cents)
    rows = [f"| {region.name} | {region.orders} | {region.cents / 100:.2f} |" for region in ranked]
    total_cents = sum(region.cents for region in ranked)
    lines = ["| region | orders | sum |", "| --- | --- | --- |", *rows, "", f"In all {total_cents / 100:.2f}."]
    return {"report": "\n".join(lines), "total_cents": total_cents}

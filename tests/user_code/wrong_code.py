"""What the type checker has to refuse: each line that ends in a comment is a mistake. It is never run."""

from __future__ import annotations

from waybill import Client, SyncClient
from waybill.testing import run_plan


async def on_a_loop(client: Client) -> None:
    client.submit(gaol="x")  # wrong
    for _event in client.watch("t1"):  # wrong
        pass
    name: int = (await client.get("t1")).name  # wrong
    print(name)


def waiting(client: SyncClient) -> None:
    client.submit(gaol="x")  # wrong
    client.get(5)  # wrong
    name: int = client.get("t1").name  # wrong
    with client.run(goal="x") as run:
        text: str = next(run).sequence  # wrong
    print(name, text, client.nothing)  # wrong


async def testing() -> None:
    steps: int = (await run_plan({"steps": []}, [])).steps  # wrong
    print(steps)

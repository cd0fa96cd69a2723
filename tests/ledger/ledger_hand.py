"""A worker driven by hand: it keeps the rules of `exchange`, and loses whatever replies the test wants it to lose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from waybill.core.task import Failure, Usage
from waybill.ledger.ledger import Ledger
from waybill.ledger.records import (
    AgentOffer,
    Exchange,
    Grant,
    Outcome,
    QueueEntry,
    Renewal,
    Settlement,
    StepRef,
    WorkerOffer,
)

FAILURE = Failure("AGENT_ERROR", "it did not work")


@dataclass
class Call:
    """The arguments of one exchange, kept until its reply has arrived."""

    settlements: Sequence[Settlement]
    entries: Sequence[QueueEntry]
    free: int


class Hand:
    """One worker. `held` is what it runs, by step; `read` is what it has read of its queues and not passed yet."""

    def __init__(
        self,
        ledger: Ledger,
        name: str = "hand",
        agents: Sequence[str] = ("echo",),
        *,
        slots: int = 16,
        max_batch: int = 1,
    ) -> None:
        self.ledger = ledger
        self.incarnation = 0
        self.name = name
        self.agents = tuple(agents)
        self.slots = slots
        self.max_batch = max_batch
        self.read: list[QueueEntry] = []
        self.held: dict[StepRef, Grant] = {}
        self.seq = 0
        self.seen = 0
        self.unanswered: Call | None = None

    def __repr__(self) -> str:
        return self.id

    @property
    def id(self) -> str:
        return f"{self.name}.{self.incarnation}"

    async def register(self) -> Hand:
        offers = tuple(AgentOffer(agent, "", "{}", "", self.max_batch) for agent in self.agents)
        await self.ledger.register(WorkerOffer(self.id, self.name, "127.0.0.1:1", self.slots, offers))
        return self

    async def restart(self) -> Hand:
        """The process dies and a new one of the same name comes up."""
        self.incarnation += 1
        self.read, self.held, self.seq, self.seen, self.unanswered = [], {}, 0, 0, None
        return await self.register()

    async def wait(self) -> list[QueueEntry]:
        """Read what the queues hold, at once; the next exchange passes it."""
        entries = await self.ledger.wait_for_work(self.id, self.agents, 1)
        self.read += entries
        return entries

    async def exchange(self, *settlements: Settlement, free: int | None = None) -> Exchange:
        """One exchange whose reply arrives."""
        self._prepare(settlements, free)
        return await self.repeat()

    async def lose(self, *settlements: Settlement, free: int | None = None) -> Exchange:
        """One exchange that is applied and whose reply is lost; `repeat` makes it again. Returns what was lost."""
        call = self._prepare(settlements, free)
        return await self._send(call)

    async def repeat(self) -> Exchange:
        """Make the call again that got no reply; this time the reply arrives."""
        assert self.unanswered is not None
        reply = await self._send(self.unanswered)
        for settlement in self.unanswered.settlements:
            self.held.pop(settlement.ref, None)
        self.held.update((grant.ref, grant) for grant in reply.grants)
        self.seen, self.unanswered = self.seq, None
        return reply

    def _prepare(self, settlements: Sequence[Settlement], free: int | None) -> Call:
        assert self.unanswered is None, "one exchange at a time: repeat the one that got no reply"
        ended = {settlement.ref for settlement in settlements}
        room = self.slots - len([ref for ref in self.held if ref not in ended])
        self.unanswered = Call(settlements, tuple(self.read), room if free is None else free)
        self.read = []
        self.seq += 1
        return self.unanswered

    async def _send(self, call: Call) -> Exchange:
        return await self.ledger.exchange(
            self.id, self.seq, self.seen, call.settlements, call.entries, self.agents, call.free
        )

    async def renew(self) -> Renewal:
        """A heartbeat that names everything held."""
        return await self.ledger.renew(self.id, self.seen, list(self.held))

    async def take(self, count: int | None = None) -> list[Grant]:
        """The grants of one exchange without settlements."""
        return list((await self.exchange(free=count)).grants)

    async def run_all(self) -> list[Grant]:
        """Succeed with every step there is, until there is none; what was run, in that order."""
        ran: list[Grant] = []
        granted = [*self.held.values(), *await self.take()]
        while granted:
            ran += granted
            granted = list((await self.exchange(*map(succeeded, granted))).grants)
        return ran


def succeeded(held: Grant | StepRef, output: bytes = b"1", *, run_ms: int = 5, usage: Usage = Usage()) -> Settlement:
    return Settlement(_ref(held), Outcome.SUCCEEDED, output=output, usage=usage, run_ms=run_ms)


def failed(
    held: Grant | StepRef,
    *,
    final: bool = False,
    run_ms: int = 5,
    usage: Usage = Usage(),
    retry_after_ms: int = 0,
    failure: Failure = FAILURE,
) -> Settlement:
    outcome = Outcome.FAILED_FINALLY if final else Outcome.FAILED
    return Settlement(_ref(held), outcome, failure=failure, usage=usage, run_ms=run_ms, retry_after_ms=retry_after_ms)


def died(held: Grant | StepRef) -> Settlement:
    return Settlement(_ref(held), Outcome.DIED, failure=Failure("PROCESS_DIED", "killed by SIGSEGV"), run_ms=5)


def undecodable(held: Grant | StepRef) -> Settlement:
    return Settlement(_ref(held), Outcome.UNDECODABLE, failure=Failure("INPUT_UNDECODABLE", "is not JSON"), run_ms=5)


def cancelled(held: Grant | StepRef, *, run_ms: int = 5, usage: Usage = Usage()) -> Settlement:
    return Settlement(_ref(held), Outcome.CANCELLED, usage=usage, run_ms=run_ms)


def handed_back(held: Grant | StepRef) -> Settlement:
    return Settlement(_ref(held), Outcome.HANDED_BACK)


def _ref(held: Grant | StepRef) -> StepRef:
    return held.ref if isinstance(held, Grant) else held


async def pass_time(ledger: Ledger, ms: int, *beating: Hand) -> int:
    """Let time pass in ticks close enough to each other to judge workers; those `beating` stay alive.

    Returns how many steps the ticks reclaimed.
    """
    reclaimed = 0
    while ms > 0:
        stride = min(ms, 1_000)
        ledger.clock_ms += stride
        ms -= stride
        for hand in beating:
            await hand.renew()
        reclaimed += (await ledger.tick()).reclaimed
    return reclaimed

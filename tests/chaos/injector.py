"""The faults: a schedule that comes from the seed alone, and the hand that carries it out."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import TypeVar

from chaos.process import Process
from chaos.suite import Suite

Choice = TypeVar("Choice")
KINDS = ("store", "planner", "dispatcher", "worker", "gateway")
QUIET_START_SECONDS = 1.0
QUIET_END_SECONDS = 1.0
START_UP_SECONDS = 3.0
"""After a kill a process is left alone for as long as it may take to be of use again."""
_STORM_PART = 0.2
"""So often a process may be hit while the other one of its kind is out; else one of each kind is left alone."""
_FIRST_KILLS_PART = 0.5
"""Each kind has been killed once by this part of the duration."""


class Deed(StrEnum):
    """What is done to a process or to a link."""

    KILL = auto()
    PAUSE = auto()
    RESTART = auto()
    CUT = auto()
    DELAY = auto()
    SILENCE = auto()
    LOSE_REPLIES = auto()
    REFUSE = auto()


_LONGEST_SECONDS = {
    (Deed.KILL, "store"): 1.5,
    (Deed.KILL, "worker"): 3.0,
    (Deed.PAUSE, "store"): 3.0,
    (Deed.PAUSE, "worker"): 6.0,
}
_WEIGHT_OF_KIND = {"store": 3, "planner": 1, "dispatcher": 2, "worker": 3, "gateway": 2}
_DEED_WEIGHTS = {Deed.KILL: 6, Deed.PAUSE: 3, Deed.RESTART: 2}
_LINK_WEIGHTS = {Deed.CUT: 3, Deed.DELAY: 2, Deed.SILENCE: 2, Deed.LOSE_REPLIES: 5, Deed.REFUSE: 1}


@dataclass(frozen=True)
class Fault:
    """One deed on one target, `at_seconds` after the start; `seconds` is how long it lasts, or for LOSE_REPLIES how
    long requests may take effect before the connection is cut."""

    at_seconds: float
    deed: Deed
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at_seconds:7.2f} s  {self.deed} {self.target} ({self.seconds:.2f} s)"


@dataclass(frozen=True)
class Kill:
    """A process that was killed, and when, in epoch milliseconds."""

    process: str
    kind: str
    time_ms: int


def schedule(
    seed: int, duration_seconds: float, processes: Mapping[str, str], links: Sequence[str]
) -> tuple[Fault, ...]:
    """The faults of a seed, by time. `processes` maps names to kinds. Each kind is killed at least once."""
    faults = [*_process_faults(seed, duration_seconds, processes), *_link_faults(seed, duration_seconds, sorted(links))]
    return tuple(sorted(faults, key=lambda fault: fault.at_seconds))


def _process_faults(seed: int, duration_seconds: float, processes: Mapping[str, str]) -> list[Fault]:
    rng = random.Random(f"processes:{seed}")
    first = [(Deed.KILL, kind) for kind in rng.sample(KINDS, len(KINDS))]
    pace_seconds = min(3.0, duration_seconds * _FIRST_KILLS_PART / len(KINDS))
    faults: list[Fault] = []
    busy_until = dict.fromkeys(processes, 0.0)
    at_seconds = QUIET_START_SECONDS
    while at_seconds < duration_seconds - QUIET_END_SECONDS:
        deed, kind = first.pop(0) if first else (_weighted(rng, _DEED_WEIGHTS), "")
        busy = {name for name, until in busy_until.items() if until > at_seconds}
        spared = set() if rng.random() < _STORM_PART else {processes[name] for name in busy}
        weights = {
            name: _WEIGHT_OF_KIND[of_kind]
            for name, of_kind in sorted(processes.items())
            if name not in busy and of_kind not in spared and kind in ("", of_kind)
        }
        if weights:
            target = _weighted(rng, weights)
            kind = processes[target]
            seconds = rng.uniform(0.1, _LONGEST_SECONDS.get((deed, kind), 4.0 if deed is Deed.PAUSE else 2.0))
            faults.append(Fault(at_seconds, deed, target, seconds))
            busy_until[target] = at_seconds + seconds + START_UP_SECONDS
        at_seconds += pace_seconds * rng.uniform(0.5, 1.0)
    return faults


def _link_faults(seed: int, duration_seconds: float, links: Sequence[str]) -> list[Fault]:
    rng = random.Random(f"links:{seed}")
    faults = []
    busy_until = dict.fromkeys(links, 0.0)
    at_seconds = QUIET_START_SECONDS
    while at_seconds < duration_seconds - QUIET_END_SECONDS:
        free = [name for name in links if busy_until[name] <= at_seconds]
        target, deed = rng.choice(free), _weighted(rng, _LINK_WEIGHTS)
        seconds = rng.uniform(0.02, 0.2) if deed in (Deed.LOSE_REPLIES, Deed.CUT) else rng.uniform(0.2, 4.0)
        faults.append(Fault(at_seconds, deed, target, seconds))
        busy_until[target] = at_seconds + seconds
        at_seconds += rng.uniform(0.2, 1.0)
    return faults


def _weighted(rng: random.Random, weights: Mapping[Choice, int]) -> Choice:
    return rng.choices(list(weights), list(weights.values()))[0]


class Injector:
    """Carries out a schedule on a suite, and keeps account of what it really did."""

    def __init__(self, suite: Suite) -> None:
        self.kills: list[Kill] = []
        self.done: list[Fault] = []
        self._suite = suite

    async def run(self, faults: Sequence[Fault]) -> None:
        """All faults in their time; returns when the last one is over."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at_seconds - time.monotonic()))
                group.create_task(self._inflict(fault))

    async def _inflict(self, fault: Fault) -> None:
        if fault.target in self._suite.links:
            await self._harm_link(fault)
        else:
            await self._harm_process(fault)

    async def _harm_process(self, fault: Fault) -> None:
        process = self._suite.processes[fault.target]
        if process.busy.locked() or not process.running:
            return  # an earlier fault took longer than it should, as a busy machine does
        async with process.busy:
            self.done.append(fault)
            await self._harm(process, fault)

    async def _harm(self, process: Process, fault: Fault) -> None:
        match fault.deed:
            case Deed.PAUSE:
                process.pause()
                await asyncio.sleep(fault.seconds)
                process.resume()
            case Deed.KILL:
                kill = Kill(process.spec.name, process.spec.kind, int(time.time() * 1000))
                if await process.kill():
                    self.kills.append(kill)
                await asyncio.sleep(fault.seconds)
                process.start()
            case _:
                await process.terminate()
                process.start()

    async def _harm_link(self, fault: Fault) -> None:
        link = self._suite.links[fault.target]
        self.done.append(fault)
        match fault.deed:
            case Deed.CUT:
                link.cut()
            case Deed.LOSE_REPLIES:
                link.lose_replies(fault.seconds)
            case Deed.DELAY:
                link.delay_seconds = min(0.5, fault.seconds / 10)
            case Deed.SILENCE:
                link.silence()
            case _:
                link.refusing = True
                link.cut()
        await asyncio.sleep(fault.seconds)
        if fault.deed is not Deed.LOSE_REPLIES:
            link.heal()

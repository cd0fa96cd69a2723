"""What workers and time may do to a ledger, each with what the model says of it."""

from __future__ import annotations

from collections.abc import Sequence

from ledger_dispatchers import Dispatchers
from ledger_hand import Hand, cancelled, died, failed, handed_back, succeeded, undecodable
from ledger_random import random_patch
from msgspec.structs import replace

from waybill.core.patch import LinkedPatch
from waybill.core.task import EffectState, Event, EventType, Failure, TaskState, Usage
from waybill.errors import NotFound
from waybill.ledger.records import Exchange, Grant, Settlement, StepRef

FINAL = Failure("GONE", "for good")
ASKS = Failure("REPLAN", "there must be another way")
OUTCOMES = (
    *("ok", "ok", "ok", "adds", "adds", "fail", "fail", "gone", "final", "asks"),
    *("later", "back", "cancelled", "died", "garbled"),
)
WORKERS = (
    *("settle",) * 3,
    *("work_well",) * 3,
    *("work_badly", "work_amid_steering", "lose_reply", "lose_reply", "exchange"),
    *("wait", "renew", "renew_partly", "go_away", "settle_stale", "tell", "do_effects", "prepare"),
)
ADAPTING = (*("grow", "grow", "change_course", "change_course", "change_course", "reconsider", "work_amid_steering"),)
TIMES = ("time_passes", "time_passes", "live_on", "everything_pauses")


class Workers(Dispatchers):
    """The two workers at work; each verb takes the one that it is about."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.prepared: dict[StepRef, LinkedPatch] = {}

    def _outcomes(self) -> list[str]:
        return self.random.choices(OUTCOMES, k=self.random.randint(1, 3))

    def register(self, hand: Hand) -> None:
        self.call(hand.register())
        self.model.register(hand.id, hand.name)

    def _restart(self, hand: Hand) -> None:
        self.call(hand.restart())
        self.model.register(hand.id, hand.name)

    def wait(self, hand: Hand) -> None:
        """Batches are read; sometimes the process forgets them before it claims them."""
        try:
            self.call(hand.wait())
        except NotFound:
            self._restart(hand)
        if self.random.randint(0, 3) == 0:
            hand.read.clear()

    def exchange(self, hand: Hand, outcomes: Sequence[str] = (), *, lost: bool = False) -> None:
        if hand.unanswered is not None:
            self._repeat(hand)
            return
        made = [
            self._settlement(how, grant, Usage(*(self.random.randint(0, 9) for _ in range(3))))
            for how, grant in zip(outcomes, hand.held.values(), strict=False)
        ]
        self.settled += made
        try:
            reply = self.call(hand.lose(*made) if lost else hand.exchange(*made))
        except NotFound:
            assert hand.id not in self.model.workers
            self._restart(hand)
        else:
            self._applied(hand, made, reply)

    def _applied(self, hand: Hand, made: list[Settlement], reply: Exchange) -> None:
        assert self.model.beat(hand.id)
        stale = [item.ref for item in made if not self.model.settle(hand.id, item)]
        assert list(reply.stale) == stale
        for grant in reply.grants:
            self.model.grant(grant.ref, hand.id, hand.seq, suspect=grant.suspect, inputs=grant.inputs)

    def _repeat(self, hand: Hand) -> None:
        """The call that got no reply is made again: it changes nothing, and grants what is still held."""
        try:
            reply = self.call(hand.repeat())
        except NotFound:
            assert hand.id not in self.model.workers
            self._restart(hand)
        else:
            assert self.model.beat(hand.id)
            for grant in reply.grants:
                assert self.model.holding(hand.id, grant.ref)

    def settle(self, hand: Hand) -> None:
        """Some of what is held ends somehow; more is taken."""
        self.exchange(hand, self._outcomes())

    def lose_reply(self, hand: Hand) -> None:
        self.exchange(hand, self._outcomes(), lost=True)

    def work_well(self, hand: Hand) -> None:
        """All that is held succeeds, and what follows is taken."""
        for _ in range(self.random.randint(1, 4)):
            self.exchange(hand, ["ok"] * 3)

    def work_badly(self, hand: Hand) -> None:
        """Whatever is held goes wrong, again and again."""
        for _ in range(self.random.randint(1, 4)):
            self.exchange(hand, [self.random.choice(["fail", "fail", "final", "died", "died", "garbled"])] * 3)
            self.advance(self.random.choice([0, 130]))

    def work_amid_steering(self, hand: Hand) -> None:
        """A task is steered while its steps run; they end; then, perhaps, it goes on."""
        self.exchange(hand)
        if ref := self.pick(ref for ref in hand.held if self.model.holding(hand.id, ref)):
            verb = self.random.choice(["pause", "pause", "cancel"])
            self.steer(verb, ref.task)
            self.advance(self.random.choice([0, 0, 900]))
            self.exchange(hand, self.random.choice([["ok"] * 3, ["adds"] * 3, ["adds"] * 3, self._outcomes()]))
            self.steer("resume" if verb == "pause" else "retry", ref.task)
            self.exchange(hand)

    def settle_stale(self, hand: Hand) -> None:
        """A settlement that was made before, by whoever, comes again."""
        item = self.pick(self.settled)
        if item is not None and hand.unanswered is None and item.ref not in hand.held:
            try:
                reply = self.call(hand.exchange(item))
            except NotFound:
                self._restart(hand)
            else:
                self._applied(hand, [item], reply)

    def renew(self, hand: Hand, *, forgets: bool = False) -> None:
        if forgets and hand.unanswered is None and (ref := self.pick(hand.held)) is not None:
            hand.held.pop(ref)
        try:
            renewal = self.call(hand.renew())
        except NotFound:
            assert not self.model.beat(hand.id)
            self._restart(hand)
        else:
            assert self.model.beat(hand.id)
            cancel, lost = self.model.renew(hand.id, hand.seen, hand.held)
            assert (set(renewal.cancel), set(renewal.lost)) == (cancel, lost)
            for ref in renewal.lost:
                hand.held.pop(ref)

    def renew_partly(self, hand: Hand) -> None:
        """The worker has lost track of a step."""
        self.renew(hand, forgets=True)

    def go_away(self, hand: Hand) -> None:
        """The process is gone: it says nothing, comes back under its name, or says goodbye."""
        how = self.random.choice(["silent", "restarts", "leaves"])
        if how == "leaves":
            self.call(self.ledger.unregister(hand.id))
            self.model.lose(hand.id, died=False)
        else:
            hand.name += "x" if how == "silent" else ""
            self._restart(hand)

    def tell(self, hand: Hand) -> None:
        if (ref := self.pick(hand.held)) is not None:
            event = Event(type=EventType.STEP_TEXT, step=hand.held[ref].step, attempt=ref.attempt, text="…")
            current = self.call(self.ledger.append_events(hand.id, ref, 0, [event]))
            assert current == (self.model.holding(hand.id, ref) is not None)

    def do_effects(self, hand: Hand) -> None:
        """An attempt does what must not happen twice, again and again; sometimes it stops in the middle."""
        if (ref := self.pick(hand.held)) is not None:
            for at in range(self.random.randint(1, 3)):
                self._do_effect(hand, ref, f"n{self.calls}-{at}")

    def _do_effect(self, hand: Hand, ref: StepRef, nonce: str) -> None:
        key = self.random.choice("ab")
        place = (ref.task, ref.number, key)
        found = self.model.holding(hand.id, ref)
        state, by, result = self.model.effects.get(place, (EffectState.FAILED, 0, ""))
        begun = self.call(self.ledger.begin_effect(hand.id, ref, key, nonce))
        if found is None or found[0].state is TaskState.CANCELLING:
            assert begun is None
            return
        assert begun is not None
        if state is EffectState.DONE:
            assert (begun.state, begun.attempt, begun.result.decode()) == (state, by, result)
        elif state is not EffectState.FAILED:
            assert (begun.state, begun.attempt) == (EffectState.UNKNOWN, by)
            self.model.effects[place] = (EffectState.UNKNOWN, by, "")
        else:
            assert begun.state is EffectState.INTENDED
            self.model.effects[place] = (EffectState.INTENDED, ref.attempt, "")
            ends = self.random.choice([None, EffectState.DONE, EffectState.FAILED, EffectState.UNKNOWN])
            if ends is not None:
                assert self.call(self.ledger.end_effect(hand.id, ref, key, nonce, ends, b'"r"'))
                self.model.effects[place] = (ends, ref.attempt, '"r"')

    def advance(self, ms: int) -> None:
        self.model.now = self.ledger.clock_ms = self.ledger.clock_ms + ms
        assert self.call(self.ledger.tick()).ran == self.model.tick()

    def time_passes(self) -> None:
        self.advance(self.random.choice([0, 60, 130, 500]))

    def live_on(self) -> None:
        """Seconds pass with ticks; those who beat stay alive."""
        beating = [at for at in (0, 1) if self.random.random() < 0.7]
        for _ in range(self.random.randint(1, 4)):
            self.model.now = self.ledger.clock_ms = self.ledger.clock_ms + 1_000
            for at in beating:
                self.renew(self.hands[at])
            self.advance(0)

    def everything_pauses(self) -> None:
        """Nobody may lose anything for that alone."""
        known = set(self.model.workers)
        self.advance(self.random.choice([3_000, 20_000]))
        assert set(self.model.workers) == known

    def _settlement(self, how: str, grant: Grant, usage: Usage) -> Settlement:
        output = b'"%s"' % grant.step.encode()
        match how:
            case "ok":
                return succeeded(grant, output, usage=usage, run_ms=7)
            case "adds":
                added = self.prepared.pop(grant.ref, None) or self._addition(grant)
                return replace(succeeded(grant, output, usage=usage), patch=added)
            case "fail":
                return failed(grant, usage=usage)
            case "gone":
                return failed(grant, usage=usage, failure=FINAL)
            case "final":
                return failed(grant, final=True, usage=usage)
            case "asks":
                return failed(grant, final=True, usage=usage, failure=ASKS)
            case "later":
                return failed(grant, retry_after_ms=400)
            case "back":
                return handed_back(grant)
            case "cancelled":
                return cancelled(grant, usage=usage)
            case "died":
                return died(grant)
        return undecodable(grant)

    def _addition(self, grant: Grant) -> LinkedPatch | None:
        fresh = f"a{self.calls}-{grant.ref.number}"
        return random_patch(self.random, self.model.tasks[grant.ref.task], fresh, grant.step)

    def grow(self, hand: Hand) -> None:
        """All that is held succeeds and adds to its plan; conditions are looked at meanwhile."""
        for _ in range(self.random.randint(1, 3)):
            self.exchange(hand, ["adds"] * 3)
            self.decide()

    def reconsider(self, hand: Hand) -> None:
        """Steps end, and the conditions of others are looked at while their task is steered."""
        self.submit()
        self.exchange(hand)
        self.exchange(hand, ["ok"] * 3)
        for _ in range(self.random.randint(1, 3)):
            self.decide_amid_steering()
            self.exchange(hand, ["ok", "adds", "ok"])

    def change_course(self, hand: Hand) -> None:
        """A step fails for good, and while its plan is revised others end, fail, or add steps; its task is steered."""
        if self.random.random() < 0.5:
            self.submit()
        self.exchange(hand)
        held = [ref for ref in hand.held if self.model.holding(hand.id, ref)]
        if not held:
            return
        task_id = self.random.choice(held).task
        self.exchange(hand, self.random.choice([["asks", "ok", "adds"], ["final", "adds", "ok"], ["asks", "asks"]]))
        self.revise(likely=0.3)
        for _ in range(self.random.randint(1, 5)):
            match self.random.choice(
                ["revise", "late", "late", "late", "decide", "work", "grow", "grow", "steer", "time"]
            ):
                case "revise":
                    self.revise(likely=0.5)
                case "late":
                    self.revise_late(task_id)
                case "decide":
                    self.decide()
                case "work":
                    self.exchange(hand, self._outcomes())
                case "grow":
                    self.exchange(hand, ["adds"] * 3)
                case "steer":
                    self.steer(self.random.choice(["pause", "resume", "resume", "cancel", "retry"]), task_id)
                case "time":
                    self.advance(self.random.choice([130, 600]))

    def prepare(self, hand: Hand) -> None:
        """An agent makes up its mind what to add, long before it is done."""
        if (ref := self.pick(hand.held)) is not None and (added := self._addition(hand.held[ref])):
            self.prepared[ref] = added

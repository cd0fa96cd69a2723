"""What spends money and is limited: calls of attempts and of the planner, budgets and limits, each with its model."""

from __future__ import annotations

from ledger_callers import TENANTS
from ledger_money import ModelCall, SpendingModel
from ledger_random import AGENTS
from ledger_workers import Workers

from waybill.core.task import Usage
from waybill.ledger.call_records import CallOpening, CallVerdict, Observed, Rates
from waybill.ledger.records import StepRef

SPENDERS = (
    *("ask_model",) * 4,
    *("end_call",) * 3,
    *("ask_for_planner", "ask_again", "set_budget", "set_limit", "set_limit", "limit_endpoint"),
)


class Spenders(Workers):
    """Callers of models, and the operator who sets what may be spent and run."""

    model: SpendingModel

    def open_accounts(self) -> None:
        """Begin, before anything else happens."""
        self.model = SpendingModel(self.ledger.clock_ms)
        self.begun = 0

    def submit(self) -> None:
        super().submit()
        self.model.budgets = {task.id: task.budget for task in self.tasks.values() if task.budget is not None}

    def ask_model(self) -> None:
        """An attempt, perhaps one that is over, makes a call."""
        refs = [(hand.id, ref) for hand in self.hands for ref in hand.held]
        if picked := self.pick(refs):
            worker, ref = picked
            for _ in range(self.random.randint(1, 3)):
                self._ask(worker, ref)

    def ask_for_planner(self) -> None:
        if task := self.pick(self.model.tasks.values()):
            self._ask("", StepRef(task.id, 0, self.random.choice([task.round, task.round, max(0, task.round - 1)])))

    def _ask(self, worker: str, ref: StepRef) -> None:
        self.begun += 1
        worst = Usage(self.random.randint(0, 9), self.random.randint(0, 9), self.random.choice([0, 1, 20, 45]))
        patient = self.random.random() < 0.8
        opening = CallOpening(self.begun, f"n{self.begun}", "m", "default", worst, patient=patient)
        verdict = self.call(self.ledger.begin_call(worker, ref, opening)).verdict
        held = ref.number == 0 or self.model.holding(worker, ref) is not None
        if not held or not self.model.may_call(ref) or self.model.tasks[ref.task].state.value == "cancelling":
            assert verdict is CallVerdict.STALE
            return
        expected = self.model.money_verdict(ref, worst.cost_microusd)
        limited = expected is CallVerdict.GO and "model:default" in self.model.limits
        assert verdict is expected or (limited and verdict is CallVerdict.WAIT)
        if verdict is CallVerdict.GO:
            self.model.calls[ref, self.begun] = ModelCall(ref, self.begun, worst, f"n{self.begun}")

    def ask_again(self) -> None:
        """The reply was lost: asking again under the same nonce changes nothing."""
        if call := self.pick(call for call in self.model.calls.values() if self.model.is_open(call)):
            worker = self._worker_of(call.ref)
            opening = CallOpening(call.number, call.nonce, "m", "default", call.worst)
            if worker is not None and self.model.tasks[call.ref.task].state.value != "cancelling":
                assert self.call(self.ledger.begin_call(worker, call.ref, opening)).verdict is CallVerdict.GO

    def _worker_of(self, ref: StepRef) -> str | None:
        if ref.number == 0:
            return ""
        return self.model.tasks[ref.task].steps[ref.number].worker

    def end_call(self) -> None:
        """A call ends, or its end is told again or late; sometimes without an account."""
        if call := self.pick(self.model.calls.values()):
            guessed = self.random.random() < 0.3
            used = Usage(*(self.random.randint(0, most) for most in (9, 9, call.worst.cost_microusd)))
            if self.random.random() < 0.2:
                used = Usage()
            observed = Observed(accounted=not guessed, throttled=self.random.random() < 0.1, retry_after_ms=50)
            assert self.call(self.ledger.end_call(call.ref, call.number, used, observed))
            if observed.throttled and self.model.is_open(call):
                self.model.limits.setdefault("model:default", 0)
            if call.told is None or call.guessed:
                call.told, call.guessed = used, guessed

    def set_budget(self) -> None:
        tenant, most = self.random.choice(TENANTS), self.random.choice([0, 60, 150, 400])
        self.call(self.ledger.set_tenant_budget(tenant, most, 0))
        self.model.most_of_tenants[tenant] = most

    def set_limit(self) -> None:
        """A limit is set, raised, lowered or removed."""
        name = self.random.choice([*(f"agent:{name}" for name in AGENTS), *(f"tenant:{name}" for name in TENANTS)])
        most = self.random.choice([0, 1, 2, 3])
        self.call(self.ledger.set_limit(name, Rates(max_concurrency=most)))
        self.model.set_limit(name, most)

    def limit_endpoint(self) -> None:
        most = self.random.choice([0, 1, 2])
        self.call(self.ledger.set_limit("model:default", Rates(max_concurrency=most)))
        self.model.set_limit("model:default", most)

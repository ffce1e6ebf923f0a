"""Whatever happens to an experiment, in any order: it is where a model of a page says, loses nothing, and can be finished.

The director's experiments are real, over a real journal and real blobs; envoys are names, and time is told. A run that fails
prints the calls that led there, and a blob that runs them again.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from federation.engine.members import ACTIVE, EXCLUDED, FAILED
from federation.plan import plan_from_json
from tests.director.director_and_model import GRACE, LIMIT, NAMES, DirectorAndModel, announced
from tests.director.experiment_model import Model
from tests.director.in_process import MODEL
from tests.director.known_work import same_bits, simulated, sum_of

SEED, SETTLED = 7, 15.0

envoys = st.sampled_from(NAMES)


class AnyOrder(DirectorAndModel):
    """Everything that can happen to one experiment; each rule tells the director and the model."""

    @initialize(
        connected=st.sets(envoys),
        needed=st.integers(1, 3),
        size=st.sampled_from([None, None, 1, 2, 0.5]),
        rounds=st.integers(1, 3),
        join_late=st.booleans(),
    )
    def submit(
        self, connected: set[str], needed: int, size: float | None, rounds: int, join_late: bool
    ) -> None:
        """An experiment is submitted; some envoys may be there, and some may come later."""
        self.model = Model(needed, size, rounds, join_late, SEED, GRACE, LIMIT)
        for name in sorted(connected):
            self.alive.connect_as(name, **announced(name, True))
            self.model.fits[name] = True
        federation = {"cohort": size, "join_late": join_late, "grace": GRACE, "round_limit": LIMIT}
        given = {key: value for key, value in federation.items() if value is not None}
        self.alive.submit(envoys=needed, rounds=rounds, federation=given | {"seed": SEED})
        self.attend()

    # Envoys come and go.

    @rule(name=envoys, fits=st.sampled_from([True, True, False]))
    def connect(self, name: str, fits: bool) -> None:
        """An envoy comes, as it was or with other classes; over a connection that it has, or a new one."""
        said = announced(name, fits)
        self.ordered.discard(name)
        self.do(lambda: self.alive.connect_as(name, **said), lambda: self.model.fits.update({name: fits}))

    @precondition(lambda self: self.model.fits)
    @rule(data=st.data(), for_long=st.booleans())
    def disconnect(self, data: Any, for_long: bool) -> None:
        """An envoy's connection ends; what works there may still send."""
        name = data.draw(st.sampled_from(sorted(self.model.fits)))
        self.ordered.discard(name)
        self.do(lambda: self.alive.disconnect(name), lambda: self.model.fits.pop(name))
        if for_long:
            self.time_passes(GRACE + 1)

    @precondition(lambda self: self.ordered)
    @rule(data=st.data())
    def cannot_work(self, data: Any) -> None:
        """An envoy's disk is full."""
        name = data.draw(st.sampled_from(sorted(self.ordered)))
        full = self.alive.experiments.cannot_work
        self.do(lambda: full("rows", name, "its disk is full"), lambda: self.model.full.add(name))

    @precondition(lambda self: self.ordered & self.model.full)
    @rule(data=st.data())
    def works_again(self, data: Any) -> None:
        """There is room again, which an envoy finds out that has an order to work."""
        self.finds_room(data.draw(st.sampled_from(sorted(self.ordered & self.model.full))))

    @rule(seconds=st.sampled_from([16.0, 300.0, GRACE + 1, LIMIT + 1]))
    def time_passes(self, seconds: float) -> None:
        """The director listens, and nothing happens."""
        self.model.now += seconds
        self.alive.now += seconds
        self.do(lambda: None, lambda: None, may_crash=False)

    # Work.

    @precondition(lambda self: self.workers())
    @rule(data=st.data(), most=st.sampled_from([1, 9]))
    def work(self, data: Any, most: int) -> None:
        """An envoy does its next open task, or all of them."""
        name = data.draw(st.sampled_from(self.workers()))
        number = self.model.round
        for task in self.model.open_tasks(name)[:most]:
            self.result(name, number, task)

    @precondition(lambda self: self.model.state == "running")
    @rule(name=envoys, back=st.integers(0, 1), data=st.data())
    def a_result_arrives(self, name: str, back: int, data: Any) -> None:
        """Something that was on its way: of this round or the last, whoever sends it, wherever it stands."""
        number = max(self.model.round - back, 0)
        self.result(name, number, data.draw(st.sampled_from(self.model.tasks())))

    # Somebody asks for it, or something goes wrong.

    @precondition(lambda self: self.model.state == "running")
    @rule(name=envoys)
    def fail(self, name: str) -> None:
        """An envoy says that it cannot go on."""
        self.do(lambda: self.running().fail(name, "no memory"), lambda: self.model.leave(name, FAILED))

    @precondition(lambda self: self.model.state == "running")
    @rule(data=st.data())
    def exclude(self, data: Any) -> None:
        """Somebody goes on without an envoy."""
        members = sorted(filter(self.model.takes_part, self.model.standing))
        name = data.draw(st.sampled_from(members))
        self.do(
            lambda: self.alive.experiments.exclude("rows", name, "alice"),
            lambda: self.model.leave(name, EXCLUDED),
        )

    @precondition(lambda self: self.model.state != "finished")
    @rule()
    def resume(self) -> None:
        """Somebody takes back whoever has left, or queues the experiment again."""
        self.do(lambda: self.alive.experiments.resume("rows", {}, False, "alice"), self.model.resume)

    @precondition(lambda self: self.model.state in ("queued", "running"))
    @rule()
    def stop(self) -> None:
        """Somebody stops it."""
        self.do(lambda: self.alive.experiments.stop("rows"), lambda: self.model.end("stopped"))

    @precondition(lambda self: self.model.state == "running")
    @rule(back=st.sets(envoys))
    def stop_for_a_while(self, back: set[str]) -> None:
        """Some envoys come while it is stopped."""
        self.stop()
        for name in sorted(back):
            self.connect(name, True)
        self.resume()

    @rule(order=st.permutations(NAMES))
    def restart(self, order: list[str]) -> None:
        """The director is killed and started again, and its envoys come back one after another."""
        before, as_it_was = self.durable(), not (self.model.late or self.model.full)
        tasks = {name: self.given(name) for name in NAMES}
        fits = dict(self.model.fits)
        self.kill()
        self.come_back({name: fits[name] for name in order if name in fits})
        if as_it_was:
            assert self.durable() == before
            assert {name: self.given(name) for name in NAMES} == tasks

    @rule(writes=st.integers(1, 4), crash=st.booleans())
    def disk_is_full(self, writes: int, crash: bool) -> None:
        """One of the next writes finds no room, and the director goes on, or is started again."""
        self.disk.left, self.disk.crash = writes, crash

    # What must hold after each.

    @invariant()
    def holds(self) -> None:
        """Look at all that must hold."""
        self.it_is_where_the_model_says()
        self.who_is_waited_for_knows_it_and_is_told()
        self.events_tell_all_of_it_once()
        self.the_model_is_the_sum_of_those_who_counted()

    def it_is_where_the_model_says(self) -> None:
        model, row, live = self.model, self.alive.experiments.experiment("rows"), self.live()
        assert (row.state, row.round) == (model.state, model.round)
        members = {member.name: member.standing for member in self.alive.journal.members("rows")}
        assert members == model.standing
        assert row.cohort == tuple(sorted(filter(model.takes_part, model.standing)))
        opened = self.alive.journal.opened("rows")
        expected = (model.attempt, model.cohort, model.out) if model.cohort else None
        assert (opened and (opened.attempt, opened.cohort, set(opened.out))) == expected
        assert (live is not None) == (model.state == "running")
        if live is not None:
            assert {name: member.standing for name, member in live.members.items()} == members
            assert live.members.held == model.held
            assert set(live.members.there) == set(filter(model.is_there, model.standing))
            assert (set(live.stragglers), sorted(live.collaborators_done)) == (model.late, model.finished())
        assert {name: self.given(name) for name in NAMES} == {n: model.open_tasks(n) for n in NAMES}
        results = {(result.envoy, result.task) for result in self.alive.journal.results("rows")}
        assert results == {(name, task) for name, done in model.did.items() for task in done}

    def who_is_waited_for_knows_it_and_is_told(self) -> None:
        model, reason = self.model, self.alive.experiments.experiment("rows").reason
        if model.state != "running":
            return
        assert {name for name in NAMES if model.open_tasks(name)} <= self.ordered
        assert not {name for name in model.standing if not model.takes_part(name)} & self.ordered
        there = sum(model.standing[n] == ACTIVE for n in model.standing if model.is_there(n))
        held = [name for name, fits in model.fits.items() if not fits and model.takes_part(name)]
        enough = sum(map(model.takes_part, model.standing)) >= model.needed
        if model.now - (self.asked or 0.0) >= SETTLED:
            assert bool(reason) == bool((there < model.needed and enough) or held), reason
        assert all(f"the envoy {name} holds 2 classes" in reason for name in held)

    def events_tell_all_of_it_once(self) -> None:
        events = self.alive.events("rows")
        assert [event.id for event in events] == list(range(1, len(events) + 1))
        cohort: list[str] = []
        results: set[tuple[str, str]] = set()
        closed = []
        for event in events:
            if event.kind == "round_started":
                cohort, results = event.body["cohort"], set()
            elif event.kind == "result":
                found = event.body["envoy"], event.body["task"]
                assert found not in results and found[0] in cohort
                results.add(found)
            elif event.kind == "round_closed":
                assert set(event.body["cohort"]) <= set(cohort)
                closed.append((event.body["round"], event.body["cohort"]))
        assert closed == self.model.closed

    def the_model_is_the_sum_of_those_who_counted(self) -> None:
        trained = [names for number, names in self.model.closed if number < self.model.rounds]
        row = self.alive.experiments.experiment("rows")
        expected = sum_of(trained[-1], len(trained) - 1) if trained else MODEL
        assert same_bits(self.alive.blobs.open(row.model), expected)
        assert set(self.alive.blobs.names()) == self.alive.journal.named_blobs()

    def teardown(self) -> None:
        """From wherever it is, it can be finished, and a simulation of its events has its bits."""
        try:
            if sys.exc_info()[0] is None:
                self.finish()
        finally:
            self.alive.journal.close()
            self.stack.close()

    def finish(self) -> None:
        for name in NAMES:
            self.connect(name, True)
        if self.model.state != "finished":
            self.resume()
        for name in sorted(self.ordered & self.model.full):
            self.finds_room(name)
        for _ in range(3 * (self.model.rounds + 2)):
            for name in self.workers():
                number = self.model.round
                for task in self.model.open_tasks(name):
                    self.result(name, number, task)
        assert self.alive.experiments.experiment("rows").state == "finished", "it waits for ever"
        self.holds()
        plan = plan_from_json(self.alive.journal.plan("rows"), "rows", "opaque")
        path = self.folder / "events.jsonl"
        aggregator, record = simulated(path, self.alive.events("rows"), plan, self.model.standing)
        assert [(c.round_number, list(c.cohort)) for c in record.closed] == self.model.closed
        models = [closed.model for closed in record.closed if closed.model is not None]
        row = self.alive.experiments.experiment("rows")
        assert same_bits(models[-1], self.alive.blobs.open(row.model))
        assert aggregator.best is not None
        assert (aggregator.best.round_number, aggregator.best.score) == (row.best_round, row.best_score)


COMMON = {"deadline": None, "print_blob": True, "suppress_health_check": list(HealthCheck)}


def test_whatever_happens_in_any_order_is_what_the_model_says() -> None:
    run_state_machine_as_test(
        AnyOrder, settings=settings(**COMMON, max_examples=100, stateful_step_count=30, derandomize=True)
    )


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_whatever_happens_in_any_order_is_what_the_model_says_for_long() -> None:
    run_state_machine_as_test(
        AnyOrder, settings=settings(**COMMON, max_examples=3000, stateful_step_count=60)
    )

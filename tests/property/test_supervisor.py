"""The supervision tree under random deaths (I-29): never more restarts than allowed, nothing forgotten."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tradefan.runtime.supervisor import Child, Supervisor, Tree, Verdict

MAX, WINDOW, RETRY = 3, 100, 50
VENUE = (Child("v1", "link"), Child("v2", "actor"))


class TreeMachine(RuleBasedStateMachine):
    """Children die at random instants; the model keeps the list of restarts that were granted."""

    @initialize()
    def begin(self) -> None:
        """Lay out three supervisors with different ends."""
        self.tree = Tree(
            Supervisor(
                "root",
                (
                    Supervisor("venue", VENUE, MAX, WINDOW, "group_down", RETRY),
                    Child("alone", "actor"),
                    Child("once", "actor", restart="temporary"),
                ),
                MAX,
                WINDOW,
                "stay_down",
                RETRY,
            )
        )  # fmt: skip
        self.now = 1_000
        self.granted: dict[str, list[int]] = {child.id: [] for child in self.tree.order}
        for child in self.tree.order:
            self.tree.started(child.id)

    @rule(delay=st.integers(0, 60))
    def wait(self, delay: int) -> None:
        """Let time pass and start what is due for its one try."""
        self.now += delay
        for child_id in self.tree.due(self.now):
            assert not self.tree.child(child_id).up
            self.tree.started(child_id)

    @precondition(lambda self: any(self.tree.child(child.id).up for child in self.tree.order))
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """Let one running child crash, and carry out the verdict."""
        running = [child.id for child in self.tree.order if self.tree.child(child.id).up]
        child_id = data.draw(st.sampled_from(running))
        verdict = self.tree.ended(child_id, self.now, crashed=True)
        if child_id == "once":
            assert verdict == Verdict()
        for started in verdict.start:
            self.granted[started].append(self.now)
            self.tree.started(started)

    @invariant()
    def restarts_stay_inside_the_window(self) -> None:
        """At most MAX restarts of a child in any window that ends now; the tries after it are none."""
        for child_id, instants in self.granted.items():
            recent = [at for at in instants if at > self.now - WINDOW]
            assert len(recent) <= MAX, (child_id, recent)

    @invariant()
    def who_is_down_has_a_way_back_or_is_temporary(self) -> None:
        """Nothing stays down for ever by accident: MD-04."""
        for child in self.tree.order:
            state = self.tree.child(child.id)
            assert state.up or child.restart == "temporary" or state.retry_ns is not None, child.id

    @invariant()
    def a_venue_goes_down_together(self) -> None:
        """Group members are up together or wait for the same instant."""
        first, second = self.tree.child("v1"), self.tree.child("v2")
        assert first.up == second.up
        assert first.retry_ns == second.retry_ns


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_ended_when_exhausted_and_escalating_then_exactly_at_the_next_restart() -> None:
    """Escalation comes at exactly the restart after MaxR within MaxT, and not before (I-29).

    Who brought it about gets one more life, for the stop, and none after it.
    """
    tree = Tree(Supervisor("core", (Child("oms", "actor"),), MAX, WINDOW, "escalate"))
    verdicts = [tree.ended("oms", now, crashed=True) for now in (1, 2, 3, 4, 5, 6)]
    assert [verdict.start for verdict in verdicts] == [("oms",)] * 4 + [()] * 2
    assert [verdict.escalate is None for verdict in verdicts] == [True, True, True, False, True, True]


def test_ended_when_the_window_has_passed_then_counted_anew() -> None:
    """Old restarts do not count."""
    tree = Tree(Supervisor("core", (Child("oms", "actor"),), 1, WINDOW, "escalate"))
    assert tree.ended("oms", 1, crashed=True).start == ("oms",)
    assert tree.ended("oms", 1 + WINDOW, crashed=True).start == ("oms",)


def test_ended_when_transient_and_normal_then_it_stays_away() -> None:
    """A transient child that ends in peace is not started again; one that crashes is."""
    tree = Tree(Supervisor("s", (Child("t", "actor", restart="transient"),), 3, WINDOW, "stay_down"))
    assert tree.ended("t", 1, crashed=False) == Verdict()
    assert tree.ended("t", 2, crashed=True) == Verdict(start=("t",))


def test_tree_when_ids_repeat_then_refused() -> None:
    """Ids name children everywhere, so they are unique."""
    with pytest.raises(ValueError, match="unique child ids"):
        Tree(Supervisor("s", (Child("a", "actor"), Child("a", "link")), 1, 1, "stay_down"))

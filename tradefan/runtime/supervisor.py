"""Supervision as a pure state machine: who is started again, who stays down, who ends everything.

OTP's `one_for_one` semantics, counted per child: more than `restarts_max` restarts of one child
within `window_ns` exhaust its supervisor, which then acts by `on_exhausted`:

* `escalate`: the whole system stops with exit code 70 (the service manager restarts us); whose end it
  was is started a last time, for the stop: an order manager still cancels, a journal still writes;
* `stay_down`: that child stays down and is tried again every `retry_ns`;
* `group_down`: the same for all children of that supervisor together (one venue).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct, field

Restart = Literal["permanent", "transient", "temporary"]
OnExhausted = Literal["escalate", "stay_down", "group_down"]


class Child(Struct, frozen=True):
    """One actor or link under a supervisor; `shutdown_ns` bounds its answer to `Stop`."""

    id: str
    kind: Literal["actor", "link"]
    restart: Restart = "permanent"
    shutdown_ns: int = 2_000_000_000


class Supervisor(Struct, frozen=True):
    """A node of the tree; children start in order and stop in reverse."""

    id: str
    children: tuple[Child | Supervisor, ...]
    restarts_max: int
    window_ns: int
    on_exhausted: OnExhausted
    retry_ns: int = 60_000_000_000


class ChildState(Struct):
    """What is known of one child: its restarts inside the window, and whether it runs."""

    up: bool = False
    restarts: int = 0
    recent_ns: list[int] = field(default_factory=list)
    retry_ns: int | None = None


class Verdict(Struct, frozen=True):
    """What must happen now: children to start again, children to end, or the end of everything."""

    start: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    escalate: str | None = None


class TreeState(Struct):
    """All that the supervisor knows; part of a snapshot."""

    children: dict[str, ChildState] = field(default_factory=dict)
    escalated: bool = False


class Tree:
    """The supervision tree: asks and answers, starts nothing itself."""

    def __init__(self, root: Supervisor, state: TreeState | None = None) -> None:
        """Lay out the tree; ids must be unique."""
        self.order: tuple[Child, ...] = tuple(_leaves(root))
        self._parents = {leaf.id: parent for parent, leaf in _pairs(root)}
        if len(self._parents) != len(self.order):
            raise ValueError(f"expected unique child ids, got {[leaf.id for leaf in self.order]}")
        self._specs = {leaf.id: leaf for leaf in self.order}
        self.state = state or TreeState({leaf.id: ChildState() for leaf in self.order})

    def child(self, child_id: str) -> ChildState:
        """Return the state of one child."""
        return self.state.children[child_id]

    def spec(self, child_id: str) -> Child:
        """Return the specification of one child."""
        return self._specs[child_id]

    def forget(self, child_ids: Iterable[str]) -> None:
        """Know nothing of who begins anew, nor of who is no child of this tree any more."""
        known = self.state.children
        self.state.children = {leaf.id: known.get(leaf.id, ChildState()) for leaf in self.order}
        self.state.children.update((child_id, ChildState()) for child_id in child_ids)

    def started(self, child_id: str) -> None:
        """Note that a child was spawned; readiness is its own business."""
        child = self.child(child_id)
        child.up = True
        child.retry_ns = None

    def ended(self, child_id: str, now_ns: int, *, crashed: bool) -> Verdict:
        """Say what follows from the end of a child; the caller must carry it out."""
        child, spec, parent = self.child(child_id), self._specs[child_id], self._parents[child_id]
        child.up = False
        if spec.restart == "temporary" or (spec.restart == "transient" and not crashed):
            return Verdict()
        child.recent_ns = [at for at in child.recent_ns if at > now_ns - parent.window_ns]
        if len(child.recent_ns) >= parent.restarts_max:
            return self._exhausted(child_id, parent, now_ns)
        return self._again(child_id, now_ns)

    def give_up(self, reason: str) -> Verdict:
        """Say that everything must end though every child lives: what one of them holds may not be lost."""
        if self.state.escalated:
            return Verdict()
        self.state.escalated = True
        return Verdict(escalate=reason)

    def due(self, now_ns: int) -> tuple[str, ...]:
        """Return children whose one try per `retry_ns` has come; the caller starts them."""
        ids = [leaf.id for leaf in self.order if _is_due(self.child(leaf.id), now_ns)]
        for child_id in ids:
            self._again(child_id, now_ns)
        return tuple(ids)

    def next_ns(self) -> int | None:
        """Return when `due` has something to say."""
        return min(
            (child.retry_ns for child in self.state.children.values() if child.retry_ns is not None),
            default=None,
        )

    def _again(self, child_id: str, now_ns: int) -> Verdict:
        child = self.child(child_id)
        child.restarts += 1
        child.recent_ns.append(now_ns)
        child.retry_ns = None
        return Verdict(start=(child_id,))

    def _exhausted(self, child_id: str, parent: Supervisor, now_ns: int) -> Verdict:
        if parent.on_exhausted == "escalate":
            if self.state.escalated:
                return Verdict()
            self.state.escalated = True
            self.child(child_id).restarts += 1
            return Verdict((child_id,), escalate=f"{child_id}: more than {parent.restarts_max} restarts")
        group = [leaf.id for leaf in _leaves(parent)] if parent.on_exhausted == "group_down" else [child_id]
        running = tuple(member for member in group if self.child(member).up)
        for member in group:
            state = self.child(member)
            state.up = False
            state.retry_ns = now_ns + parent.retry_ns
            # After the pause one failure is enough to go down again: one try, not a burst of tries.
            state.recent_ns = [state.retry_ns] * (parent.restarts_max - 1)
        return Verdict(end=running)


def _is_due(child: ChildState, now_ns: int) -> bool:
    return child.retry_ns is not None and child.retry_ns <= now_ns


def _leaves(node: Supervisor) -> list[Child]:
    return [leaf for _, leaf in _pairs(node)]


def _pairs(node: Supervisor) -> list[tuple[Supervisor, Child]]:
    found: list[tuple[Supervisor, Child]] = []
    for child in node.children:
        if isinstance(child, Supervisor):
            found.extend(_pairs(child))
        else:
            found.append((node, child))
    return found

"""Mistakes in the kernel: timers, restarts, mail, and an order that no two processes share."""

from __future__ import annotations

from tests.mutants.mutant import Change, Mutant

KERNEL: tuple[Mutant, ...] = (
    Mutant(
        "one-timer-a-step",
        "A step fires one timer, though several are due.",
        (
            Change(
                "runtime/kernel.py",
                "        while self.timers and self.timers[0][0] <= now_ns:\n            _, number",
                "        if self.timers and self.timers[0][0] <= now_ns:\n            _, number",
            ),
            Change(
                "runtime/kernel.py",
                """\
            if number not in self.timers_live:
                continue
            del""",
                """\
            if number not in self.timers_live:
                return
            del""",
            ),
        ),
        ("I-30",),
        shows_always=True,
    ),
    Mutant(
        "one-restart-too-many",
        "A child is started again once more than its supervisor allows.",
        (
            Change(
                "runtime/supervisor.py",
                "        if len(child.recent_ns) >= parent.restarts_max:\n",
                "        if len(child.recent_ns) > parent.restarts_max:\n",
            ),
        ),
        ("I-29",),
    ),
    Mutant(
        "restarts-never-forgotten",
        "Restarts count for ever, not within the window of their supervisor.",
        (
            Change(
                "runtime/supervisor.py",
                "[at for at in child.recent_ns if at > now_ns - parent.window_ns]",
                "list(child.recent_ns)",
            ),
        ),
        ("I-29",),
    ),
    Mutant(
        "set-iteration",
        "Live orders are walked in the order of a set.",
        (
            Change(
                "actors/oms_state.py",
                "        found = (self.trading.orders[name] for name in self.trading.orders_live)\n",
                "        found = (self.trading.orders[name] for name in set(self.trading.orders_live))\n",
            ),
        ),
        ("I-42",),
        hash_seeds=True,
    ),
    Mutant(
        "hash-for-chance",
        "A connection's back-off is spread by the hash of its name instead of the kernel's own chance.",
        (
            Change(
                "core/connection.py",
                "world.now_ns + int(world.random() * bound_ns)",
                "world.now_ns + hash((self.spec.conn, state.attempt)) % (bound_ns + 1)",
            ),
        ),
        ("I-42",),
        hash_seeds=True,
    ),
    Mutant(
        "order-of-addresses",
        "The orders of a parent are cancelled in the order of their addresses in memory.",
        (
            Change(
                "actors/oms_parents.py",
                """\
    for name in tuple(parent.live):
        cancel""",
                """\
    for name in sorted(parent.live, key=lambda one: id(turn.trading.orders[one])):
        cancel""",
            ),
        ),
        ("I-42",),
        hash_seeds=True,
    ),
)

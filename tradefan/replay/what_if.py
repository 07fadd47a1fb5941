"""`tradefan replay --set KEY=VALUE`: the same market with another configuration, and what differs then.

Three runs stand side by side: the recorded one; the same configuration again on the paper venue, whose
answers come to the nanosecond and not as a busy machine lets them; and the changed one. What the last
two differ in is the change's alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct, field

from tradefan.actors.risk_desk_state import RiskView
from tradefan.config.loader import Layer, Loaded, load_texts
from tradefan.config.render import render
from tradefan.config.schema import Config
from tradefan.contracts import lookup
from tradefan.contracts import names as plugin_names
from tradefan.drivers.live import EXIT_DEFECT
from tradefan.drivers.turns import TurnBreaker
from tradefan.messages.control import LogLine
from tradefan.messages.records import Fill, Intent, Parent, PhaseChange, Record
from tradefan.replay.bounds import Bound, records_of
from tradefan.replay.check import Asked, Runs, teller
from tradefan.replay.player import Played, Player
from tradefan.replay.rerun import Rerun
from tradefan.runtime.kernel import Kernel
from tradefan.stores.journal_tool import iso
from tradefan.stores.segments import Segment
from tradefan.units import SECOND, ZERO, plain

_LOOK_S = 0.05
SHOWN_MAX = 50
"""Wishes that went another way and are listed; the rest is counted."""


class Wish(Struct):
    """What came of one parent."""

    side: str
    order_qty: Decimal
    filled: Decimal = ZERO
    worth: Decimal = ZERO
    status: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        price = f" at {plain(round(self.worth / self.filled, 8))}" if self.filled else ""
        wanted = f"{self.side} {plain(self.order_qty)}"
        return f"{wanted}: {self.status or 'open'}, filled {plain(self.filled)}{price}"


class Ran(Struct):
    """What came of one run; money is text in the quote asset or the numeraire."""

    name: str
    parents: int = 0
    orders: int = 0
    fills: int = 0
    traded: Decimal = ZERO
    """Sum of price times quantity over all fills."""
    fees: dict[str, Decimal] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    equity: dict[str, Decimal | None] = field(default_factory=dict)
    realised: dict[str, Decimal | None] = field(default_factory=dict)
    unrealised: dict[str, Decimal | None] = field(default_factory=dict)
    """The result of trading in the numeraire, before fees, of each account."""
    wishes: dict[str, Wish] = field(default_factory=dict)
    _named: Counter[str] = field(default_factory=Counter)
    _by_parent: dict[str, Wish] = field(default_factory=dict)
    _by_child: dict[str, Wish] = field(default_factory=dict)

    def take(self, records: Iterable[Record], logs: Iterable[LogLine]) -> None:
        """Count records and refusals."""
        for record in records:
            if isinstance(record, Parent):
                self.parents += 1
                order = record.order
                wish = Wish(order.side, order.order_qty)
                # Not by the ref: a strategy's holds numbers that differ as soon as anything does.
                name = f"{iso(order.created_ns)[11:-4]} {order.owner} {order.account} {order.instrument}"
                self._named[name] += 1
                name = name if self._named[name] == 1 else f"{name} #{self._named[name]}"
                self.wishes[name] = self._by_parent[order.parent_id] = wish
            elif isinstance(record, Intent):
                self.orders += 1
                if record.parent_id in self._by_parent:
                    self._by_child[record.client_order_id] = self._by_parent[record.parent_id]
            elif isinstance(record, PhaseChange) and record.parent_id in self._by_parent:
                self._by_parent[record.parent_id].status = record.status.value
            elif isinstance(record, Fill):
                self._fill(record)
        self.refusals.update(str(line.fields["code"]) for line in logs if line.event in _REFUSED)

    def _fill(self, fill: Fill) -> None:
        self.fills += 1
        self.traded += fill.qty * fill.price
        self.fees[fill.fee_asset] = self.fees.get(fill.fee_asset, ZERO) + fill.fee
        wish = self._by_child.get(fill.client_order_id or "")
        if wish is not None:
            wish.filled += fill.qty
            wish.worth += fill.qty * fill.price

    def value(self, kernel: Kernel) -> None:
        """Ask the risk desk for the equity of each account."""
        view = kernel.view("risk_desk")
        if isinstance(view, RiskView):
            self.equity = {one.account: one.equity for one in view.accounts}
            self.realised = {one.account: one.realised for one in view.accounts}
            self.unrealised = {one.account: one.unrealised for one in view.accounts}


_REFUSED = ("refused", "child_refused")


def change_config(sets: Sequence[str], config: Config) -> Config:
    """Return a recorded configuration with some keys set, checked as any configuration is.

    Raises:
        ConfigInvalid: with every mistake.
    """
    known = {name: lookup("strategy", name).settings for name in plugin_names("strategy")}
    text = render(Loaded(config, "recorded", {}))
    return load_texts([Layer("the recorded configuration", text.encode())], {}, sets, strategies=known).config


def what_if(asked: Asked, sets: Sequence[str], say: Callable[[str], None], *, as_json: bool) -> int:
    """Run every recorded run again and once more with the change, and print what would have differed."""
    runs = Runs(asked, teller(say, as_json=as_json))
    # Who follows a run follows it from a segment's first step: an instant only says which segment that is.
    runs.begin = Bound()
    for segments in runs.runs:
        notes = runs.program_of(segments) if as_json else []
        columns = _three(runs, segments, partial(change_config, sets), notes)
        if as_json:
            found = {"run": segments[0].head.run, "notes": notes, "runs": [_plain(one) for one in columns]}
            say(msgspec.json.encode(found).decode())
            continue
        for line in (*_lines(segments, sets, columns), *(f"note: {note}" for note in notes)):
            say(line)
    runs.require_order()
    return 0


def _three(
    runs: Runs, segments: Sequence[Segment], change: Callable[[Config], Config], notes: list[str]
) -> list[Ran]:
    """Replay a run, with two kernels that follow it."""
    ran = [Ran("recorded"), Ran("again"), Ran("what if")]
    try:
        reruns = [
            Rerun(segments[0], lambda config: config, changes=False),
            Rerun(segments[0], change, changes=True),
        ]
    except msgspec.MsgspecError as error:
        raise segments[0].other("its beginning", error) from error
    last: list[Player] = []

    def see(player: Player, played: Played) -> None:
        last[:] = [player]
        ran[0].take(
            (record for _, record in records_of(played)),
            (effect for _, effect in played.effects if isinstance(effect, LogLine)),
        )
        for rerun in reruns:
            rerun.follow(played, player.names)

    with _breaking_turns(reruns) as turns:
        report = runs.play(segments, see)
    notes += report.notes
    if report.code:
        notes.append(f"the recording itself does not replay: {report.divergence or report.raised}")
    if turns.broken:
        notes.append(f"{turns.broken} turns took longer than runtime.turn_max here, and were broken off")
    for one, rerun in zip(ran[1:], reruns, strict=True):
        if rerun.driver.exit is not None and rerun.driver.exit.code == EXIT_DEFECT:
            notes.append(f"{one.name}: ended with exit code {EXIT_DEFECT} at step {rerun.ended_at}")
    if reruns[1].unasked:
        notes.append(
            f"{reruns[1].unasked} times market data asked what nobody answers: the recording lacks it"
        )
    for one, rerun in zip(ran[1:], reruns, strict=True):
        one.take(rerun.journal.records, rerun.logs)
        one.value(rerun.kernel)
    for player in last:
        ran[0].value(player.kernel)
    for account, equity in ran[0].equity.items():
        if equity is not None and ran[1].equity.get(account) is None:
            notes.append(f"the book of {account} never became known here: nothing is said about it")
    return ran


@contextmanager
def _breaking_turns(reruns: Sequence[Rerun]) -> Iterator[TurnBreaker]:
    """Break a turn that takes too long, as the daemon's watchdog does: no recording says where."""
    limits: list[float] = [rerun.kernel.config.runtime.turn_max / SECOND for rerun in reruns]
    turns, over = TurnBreaker(max(limits)), threading.Event()
    for rerun in reruns:
        turns.watch(rerun.kernel)

    def look() -> None:
        while not over.wait(_LOOK_S):
            turns.look()

    thread = threading.Thread(target=look, name="turns", daemon=True)
    turns.start()
    thread.start()
    try:
        yield turns
    finally:
        over.set()
        thread.join()
        turns.stop()


def _lines(segments: Sequence[Segment], sets: Sequence[str], ran: Sequence[Ran]) -> Iterator[str]:
    head = segments[0].head
    yield f"{head.run} of {head.environment} with {' '.join(sets)}"
    rows: list[tuple[str, list[str]]] = [
        ("wishes accepted", [str(one.parents) for one in ran]),
        ("orders", [str(one.orders) for one in ran]),
        ("fills", [str(one.fills) for one in ran]),
        ("traded", [_money(one.traded) for one in ran]),
    ]
    assets = sorted({asset for one in ran for asset in one.fees})
    rows += [(f"fees {asset}", [plain(one.fees.get(asset, ZERO)) for one in ran]) for asset in assets]
    codes = sorted({code for one in ran for code in one.refusals})
    rows += [(f"refused {code}", [str(one.refusals.get(code, 0)) for one in ran]) for code in codes]
    accounts = sorted({account for one in ran for account in one.equity})
    for account in accounts:
        for word in ("realised", "unrealised", "equity"):
            values = [_money(getattr(one, word).get(account)) for one in ran]
            rows.append((f"{word} {account}", values))
    yield f"{'':32}" + "".join(f"{one.name:>20}" for one in ran)
    for name, values in rows:
        yield f"{name:32}" + "".join(f"{value:>20}" for value in values)
    yield from _other_ways(ran[1], ran[2])


def _other_ways(again: Ran, changed: Ran) -> Iterator[str]:
    """Give each wish that came to something else."""
    names = [*again.wishes, *(name for name in changed.wishes if name not in again.wishes)]
    other = [name for name in names if str(again.wishes.get(name)) != str(changed.wishes.get(name))]
    yield f"{len(other)} of {len(names)} wishes went another way" if other else "every wish went the same way"
    for name in other[:SHOWN_MAX]:
        was, now = again.wishes.get(name), changed.wishes.get(name)
        yield f"  {name}: {was or 'not accepted'} -> {now or 'not accepted'}"
    if len(other) > SHOWN_MAX:
        yield f"  and {len(other) - SHOWN_MAX} more"


def _money(value: Decimal | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _plain(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(ran, str_keys=True)
    return {name: value for name, value in found.items() if not name.startswith("_")}

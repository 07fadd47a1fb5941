"""The humans of the simulated world: they order, cancel, kill, resume and repair through the API's port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from typing import Any, Literal, TypeAlias

from tradefan.core.modes import waits_for_human
from tradefan.core.outbox import Placing
from tradefan.core.scopes import scopes as scopes_of
from tradefan.core.trigger import BPS, level_of
from tradefan.drivers.latch import ALL
from tradefan.messages.base import Message
from tradefan.messages.control import KillSwitch
from tradefan.messages.gateway import ReplaceOrder
from tradefan.messages.instrument import Instrument
from tradefan.messages.orders import (
    AmendOrder,
    Asked,
    AssignPosition,
    Audited,
    CancelAll,
    CancelParent,
    OwnerTurn,
    PauseOrder,
    Phase,
    ResolveOrder,
    ResumeOrder,
    ResumeTrading,
    SubmitOrder,
)
from tradefan.runtime.kernel import Kernel
from tradefan.sim.options import ACCOUNT, VENUE, Options
from tradefan.sim.plugins import CHAOS, Mode
from tradefan.sim.process import Life
from tradefan.sim.sliced import ALGORITHMS, Around, settings_of
from tradefan.units import EXTERNAL, SECOND, OwnerId, Side, exact
from tradefan.wiring import gateway_name

OWNERS = (OwnerId("api"), OwnerId("cli"))
JOURNAL, GATEWAY, LINK, OMS, LEVEL = "journal", "gateway", "link", "oms", "level"
"""Where a create may wait when a kill comes: for the disk, in the gateway's mail, for the socket.

Where a strategy's turn may wait when the strategy dies: in the order manager's mail. Where an armed order may
be when a kill comes that leaves it: near its level.
"""
NEAR_BPS = 2
PRINCIPAL = "sim operator"
KILL_REASON = "SIGUSR2"


Strike: TypeAlias = Callable[[tuple[str, ...]], None]
"""What is done to a create that waits, by its scopes, or to a turn, by its owner."""


class Operator:
    """Acts on the process that lives now; every number it gives is drawn from its own stream.

    Where `life` is None nobody hears it: a fault that is left out draws what it would have said.
    """

    def __init__(self, options: Options, rng: Random) -> None:
        """Begin without a request."""
        self.options = options
        self.rng = rng
        self.requests = 0
        self.refs = 0

    def act(self, life: Life, oms: Any) -> None:  # noqa: ANN401 the OMS's state
        """Do what operators do all day: order, cancel, pause and let go on, amend."""
        roll = self.rng.random()
        if roll < 0.2 and oms.trading.parents_open:
            self.cancel_one(life, oms)
        elif roll < 0.3 and oms.trading.parents_open:
            self.pause_one(life, oms)
        elif roll < 0.35 and oms.trading.parents_open:
            self.amend_one(life, oms)
        else:
            self.order(life, oms)

    def pause_one(self, life: Life, oms: Any) -> None:  # noqa: ANN401
        """Pause one open parent that works, or let one go on that somebody has paused, whosever it is."""
        rng, req = self.rng, self._request()
        parent = oms.trading.parents[rng.choice(list(oms.trading.parents_open))]
        name, owner = parent.order.parent_id, rng.choice(OWNERS)
        keeps, stays = rng.random() < 0.3, rng.random() < 0.3
        if parent.phase is Phase.PAUSED or (parent.trigger is not None and parent.trigger.paused):
            _ask(life, ResumeOrder(owner, name, req))
        else:
            _ask(life, PauseOrder(owner, name, keeps, stays, req))

    def order(self, life: Life | None, oms: Any, mode: Mode = "fair") -> bool:  # noqa: ANN401
        """Submit an order by hand, or one whose executor misbehaves; False when nothing is quoted."""
        rng, owner = self.rng, self.rng.choice(OWNERS)
        instrument = rng.choice(self.options.instruments)
        side: Side = "buy" if rng.random() < 0.55 else "sell"
        algo = CHAOS if mode != "fair" else rng.choice((CHAOS, CHAOS, *ALGORITHMS))
        price = self._price(oms, instrument, side)
        if price is None:
            return False
        limit = price if algo == "limit" or (algo != "market" and rng.random() < 0.5) else None
        qty, held = self._qty(instrument), _held(oms, owner, instrument)
        # What he holds he often protects: by orders that a kill may leave at the venue.
        guards = side == "sell" and held is not None and held.qty >= instrument.qty_lot and rng.random() < 0.5
        if guards:
            qty = min(qty, instrument.floor_qty(held.qty))
        self.refs += 1
        # Now and then a request is repeated: the same ref never orders twice.
        ref = f"{owner}-{self.refs if rng.random() < 0.97 else max(1, self.refs - 1)}"
        wish = SubmitOrder(
            account=ACCOUNT,
            instrument=instrument.id,
            owner=owner,
            ref=ref,
            side=side,
            order_qty=qty,
            algo=algo,
            settings=self._settings(algo, mode, self._around(oms, instrument, side, qty, limit)),
            limit_price=limit,
            reason="sim operator",
            reduce_only=guards,
            protective=guards and rng.random() < 0.5,
            req=self._request(),
        )
        _ask(life, wish)
        return True

    def cancel_one(self, life: Life, oms: Any) -> None:  # noqa: ANN401
        """Cancel one open parent, whosever it is."""
        names = list(oms.trading.parents_open)
        parent = oms.trading.parents[self.rng.choice(names)]
        _ask(life, CancelParent(parent.order.owner, parent.order.parent_id, self._request()))

    def amend_one(self, life: Life, oms: Any) -> None:  # noqa: ANN401
        """Make one open parent larger or smaller, or let it end sooner or later; often it is refused."""
        rng, req = self.rng, self._request()
        parent = oms.trading.parents[rng.choice(list(oms.trading.parents_open))]
        order, end_ns = parent.order, None if parent.plan is None else parent.plan.end_ns
        found = next((one for one in self.options.instruments if one.id == order.instrument), None)
        part, moved_ns = exact(round(0.5 + rng.random(), 3)), int((rng.random() - 0.3) * 20 * SECOND)
        qty = None if found is None or rng.random() < 0.3 else found.floor_qty(order.order_qty * part)
        end_ns = end_ns + moved_ns if end_ns is not None and rng.random() < 0.5 else None
        _ask(life, AmendOrder(rng.choice(OWNERS), order.parent_id, qty or None, None, end_ns, None, req))

    def cancel_storm(self, life: Life | None) -> None:
        """Cancel everything of everybody, several times at once."""
        owners = (*OWNERS, *(OwnerId(name) for name in self.options.config.strategies))
        for _ in range(1 + int(self.rng.random() * 5)):
            for owner in owners:
                _tell(life, CancelAll(owner, None, self._request()))

    def kill(self, life: Life | None, scopes: tuple[str, ...] = (), *, keeps: float = 0.3) -> str:
        """Kill a scope as API and SIGUSR2 do: the latch first, then the word to the order manager.

        With `scopes` it is one of these; `keeps` is how often it leaves what protects.
        """
        rng = self.rng
        if rng.random() < 0.2:
            _close(life, ALL, KILL_REASON)
            _tell(life, KillSwitch(ALL, KILL_REASON, "signal"))
            return ALL
        names = list(self.options.config.strategies)
        instrument = rng.choice(self.options.instruments)
        scope = rng.choice(scopes or ("all", "all", ACCOUNT, instrument.id, rng.choice(names), VENUE))
        _close(life, scope, "sim kill")
        kill = KillSwitch(
            scope,
            "sim kill",
            PRINCIPAL,
            including_external=rng.random() < 0.1,
            keep_protection=rng.random() < keeps,
            req=self._request(),
        )
        _tell(life, kill)
        return scope

    def resume(self, life: Life | None, scope: str) -> None:
        """Open a scope again."""
        owner = self.rng.choice(OWNERS)
        _ask(life, ResumeTrading(scope, "sim resume", PRINCIPAL, owner, self._request()))

    def repair(self, life: Life, oms: Any, *, kills: bool) -> int:  # noqa: ANN401
        """Let go what waits for a human: poisons, modes, and with `kills` kills; return how much."""
        trading = oms.trading
        scopes = [
            scope
            for scope, causes in trading.modes.items()
            if any(waits_for_human(cause) for cause in causes)
        ]
        if kills:
            scopes += [scope for scope in trading.kills if scope not in scopes]
        for scope in scopes:
            self.resume(life, scope)
        for key in trading.poisons:
            self.resolve(life, key, "RETRY" if self.rng.random() < 0.8 else "DROP")
        return len(scopes) + len(trading.poisons)

    def resolve(
        self, life: Life | None, subject: str, verdict: Literal["PLACED", "NOT_PLACED", "RETRY", "DROP"]
    ) -> None:
        """End what only a human may end."""
        owner = self.rng.choice(OWNERS)
        _ask(life, ResolveOrder(subject, verdict, "sim", PRINCIPAL, owner, self._request()))

    def assign(self, life: Life | None, oms: Any) -> bool:  # noqa: ANN401
        """Move a part of a position to another owner; False when nobody holds anything."""
        owners = [OwnerId(name) for name in self.options.config.strategies]
        held = [
            (instrument, owner, found.qty)
            for instrument in self.options.instruments
            for owner in (*owners, EXTERNAL)
            if (found := _held(oms, owner, instrument)) is not None and found.qty > 0
        ]
        if not held:
            return False
        instrument, giver, qty = self.rng.choice(held)
        taker = self.rng.choice([owner for owner in (*owners, EXTERNAL, *OWNERS) if owner != giver])
        part = instrument.floor_qty(qty * exact(round(0.2 + 0.8 * self.rng.random(), 3)))
        price = None if self.rng.random() < 0.7 else Decimal(1 + int(self.rng.random() * 1_000))
        wish = AssignPosition(
            ACCOUNT, instrument.id, giver, taker, part or qty, price, PRINCIPAL, OWNERS[0], self._request()
        )
        _ask(life, wish)
        return True

    def _request(self) -> int:
        self.requests += 1
        return self.requests

    def _qty(self, instrument: Instrument) -> Decimal:
        size = self.options.sizes[instrument.id] * exact(round(0.1 + 1.4 * self.rng.random(), 3))
        return max(instrument.floor_qty(size), instrument.qty_lot)

    def _price(self, oms: Any, instrument: Instrument, side: Side) -> Decimal | None:  # noqa: ANN401
        quote = oms.live.quotes.get(instrument.id)
        if quote is None:
            return None
        ticks = int(self.rng.random() * 60 - 15)
        touch = exact(quote.bid if side == "buy" else quote.ask)
        away = instrument.price_tick * ticks
        return max(instrument.price_within(side, touch - away if side == "buy" else touch + away), away)

    def _around(
        self,
        oms: Any,  # noqa: ANN401
        instrument: Instrument,
        side: Side,
        qty: Decimal,
        limit: Decimal | None,
    ) -> Around:
        quote, tick = oms.live.quotes[instrument.id], float(instrument.price_tick)
        return Around(side, float(qty), quote.bid, quote.ask, tick, None if limit is None else float(limit))

    def _settings(self, algo: str, mode: Mode, around: Around) -> dict[str, Any]:
        if algo != CHAOS:
            return settings_of(algo, self.rng.random, around)
        return {
            "seed": int(self.rng.random() * 1_000_000),
            "tries": self.rng.choice((2, 4, 8)),
            "patience": int(500 + self.rng.random() * 15_000),
            "mode": mode,
        }


class Ambush:
    """Lies in wait for a create or a turn at a place, and strikes in the instant in which one is there."""

    def __init__(self) -> None:
        """Lie nowhere."""
        self._armed: dict[tuple[str, bool], tuple[int, Strike]] = {}

    def lie(self, place: str, passes: int, strike: Strike, *, replaces: bool = False) -> None:
        """Let so many pass a place, and strike at the next; who lies there already stays.

        With `replaces` it lets all pass but replacements.
        """
        self._armed.setdefault((place, replaces), (passes, strike))

    def leave(self) -> None:
        """Strike no more."""
        self._armed.clear()

    def look(self, kernel: Kernel, oms: Any) -> None:  # noqa: ANN401 the OMS's state
        """Look behind a step for what waits in the journal, in the gateway or in the order manager."""
        if not self._armed:
            return
        if oms is not None and oms.live.running:
            self._wait(JOURNAL, [item.effect for item in oms.live.outbox.waiting])
            if (LEVEL, False) in self._armed:
                self.near(oms)
        self._wait(GATEWAY, _commands(kernel, gateway_name(ACCOUNT)))
        turn = next((msg for msg in _commands(kernel, OMS) if isinstance(msg, OwnerTurn)), None)
        if turn is not None:
            self.passes(OMS, (turn.owner,))

    def _wait(self, place: str, waiting: Sequence[Message]) -> None:
        placing = [one for one in waiting if isinstance(one, Placing)]
        for found in placing[:1]:
            self.passes(place, _scopes(found))
        for found in [one for one in placing if isinstance(one, ReplaceOrder)][:1]:
            self.passes(place, _scopes(found), replaces=True)

    def near(self, oms: Any) -> None:  # noqa: ANN401
        """Let the first armed order pass that the market has come near to."""
        for name, watched in oms.live.watched.items():
            level, seen = level_of(watched.condition, watched.armed), watched.armed.recent
            if level is not None and seen and abs(seen[-1].low - level) * BPS <= NEAR_BPS * level:
                order = oms.trading.parents[name].order
                self.passes(LEVEL, scopes_of(order.account, order.instrument, order.owner))
                return

    def passes(self, place: str, scopes: tuple[str, ...], *, replaces: bool = False) -> None:
        """Let what has these scopes pass a place, or strike."""
        passes, strike = self._armed.pop((place, replaces), (0, None))
        if strike is not None and passes:
            self._armed[place, replaces] = (passes - 1, strike)
        elif strike is not None:
            strike(scopes)


def _commands(kernel: Kernel, name: str) -> Sequence[Message]:
    cell = kernel.cells[kernel.refs[name]]
    assert cell is not None
    return cell.mail.commands


def _scopes(placing: Placing) -> tuple[str, ...]:
    create = placing.create if isinstance(placing, ReplaceOrder) else placing
    return scopes_of(create.account, create.instrument, create.owner)


def _ask(life: Life | None, wish: Audited) -> None:
    """Hand a wish in as the API does, with the name of who asks."""
    _tell(life, Asked(wish, PRINCIPAL))


def _tell(life: Life | None, msg: Message) -> None:
    if life is not None:
        life.inject("oms", msg)


def _close(life: Life | None, scope: str, reason: str) -> None:
    if life is not None:
        life.latch.close(scope, reason)


def _held(oms: Any, owner: OwnerId, instrument: Instrument) -> Any:  # noqa: ANN401
    positions = oms.trading.ledger.positions.get(ACCOUNT, {})
    return positions.get(owner, {}).get(instrument.id)

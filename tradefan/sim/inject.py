"""What each fault of the world does when its instant has come; one that finds nothing to do is not noted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Literal, get_args

from tradefan.actors.oms_kill import KERNEL
from tradefan.contracts import plugins
from tradefan.drivers.latch import ALL
from tradefan.messages.control import KillSwitch, LoopLag, Stop
from tradefan.messages.gateway import ExecutionReport, VenueFill
from tradefan.messages.orders import Doubt
from tradefan.runtime.kernel import PER_STEP
from tradefan.sim import edits
from tradefan.sim.falls import break_heirs, break_line, break_one, orphan_turn
from tradefan.sim.faults import CRASH, CRASHES, EXECUTOR, STRATEGY, Planned
from tradefan.sim.influx_faults import INFLUX_ACTS
from tradefan.sim.only import COMES_WITH
from tradefan.sim.operator import GATEWAY, JOURNAL, LEVEL, LINK, OMS
from tradefan.sim.options import ACCOUNT, T0, VENUE
from tradefan.sim.plugins import Mode
from tradefan.sim.process import Life, draw_crash
from tradefan.stores.kill_byte import KILL_END
from tradefan.units import SECOND, ZERO, OwnerId
from tradefan.wiring import account_port, market_port, strategy_name

if TYPE_CHECKING:
    from tradefan.sim.world import World

Act = Callable[["World", Life, str, Random], bool]
"""Do it to the process that lives; False when there was nothing to do it to."""
Said = Callable[["World", Life | None, str, Random], bool]
"""Let the operator do it, whose stream of chance is that of all his other acts: one that is left out is done,
too, and no process hears it."""


def inject(world: World, one: Planned, rng: Random) -> None:
    """Let a planned fault happen to the process that lives, if one does and the fault is not left out."""
    lets, life, kind = world.only.lets(one.kind, one.number), world.life, one.kind
    if life is None:
        return
    said = _executor if kind.startswith(EXECUTOR) else _SAID.get(kind)
    if said is not None:
        done = said(world, life if lets else None, kind, rng)
    elif lets:
        done = (_strategy if kind.startswith(STRATEGY) else _ACTS[kind])(world, life, kind, rng)
    elif kind in CRASHES and not world.countdown.armed:
        world.fate(kind.removeprefix(CRASH))
    if lets and done:
        world.note(kind)


# --- process and disk -----------------------------------------------------------------------------------


def _crash(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Let the process die soon; it is noted when it does."""
    draw_crash(world.countdown, kind, rng)
    return False


def _stall(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Let time pass without a step; the driver tells the order manager how late its loop was."""
    lag_ns = int(60 * SECOND * rng.random() ** 2)
    life.stall(world.now_ns + lag_ns)
    life.inject("oms", LoopLag(lag_ns))

    def in_time() -> None:
        if world.life is life:
            life.inject("oms", LoopLag(0))

    world.later(world.now_ns + lag_ns + SECOND // 4, in_time)
    return True


def _link(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Let the link of a port die; the supervisor starts it anew.

    The journal's often does with records in hand, behind a commit that has become slow.
    """
    account = account_port(ACCOUNT)
    port = rng.choice(("journal", "journal", market_port(VENUE), account, account, "store"))
    journal = world.rack.journal
    if port == "journal" and journal is not None and rng.random() < 0.7:
        journal.commit_ns = int((1 + 3 * rng.random()) * SECOND)
        world.note("sync_slow", "before a link dies")

        def dies() -> None:
            journal.commit_ns = world.options.commit_ns
            if world.life is life and _end_link(world, life, port):
                world.note(kind, "with records in hand")

        world.later(world.now_ns + int((0.2 + 2 * rng.random()) * SECOND), dies)
        return False
    return _end_link(world, life, port)


def _end_link(world: World, life: Life, port: str) -> bool:
    if not life.link_dies(port):
        return False
    world.rack.renew(port, life.machines)
    return True


def _stop(world: World, life: Life, kind: str, rng: Random) -> bool:
    _fall(world, life, rng)
    world.stop()
    return True


def _swizzle(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Let each market and the private stream fall silent, one some seconds behind another.

    The silence itself is noted as `market_stall` and `stream_silent`, where it meets something.
    """
    stall = world.market.faults.stall
    streams: list[Callable[[int], None]] = [partial(stall, walk) for walk in world.market.walks.values()]
    streams.append(world.venue.stream.silence)
    rng.shuffle(streams)
    at_ns = world.now_ns
    for clog in streams:
        world.later(at_ns, partial(clog, at_ns + int((2 + 40 * rng.random()) * SECOND)))
        at_ns += int(6 * SECOND * rng.random())
    return True


def _disk(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Let the journal's disk fail once, or until it is healed."""
    full = kind == "disk_full"
    for_ever = rng.random() < 0.6
    world.rack.disk.fail(
        "ENOSPC" if full else "EIO",
        "write" if full or rng.random() < 0.4 else "sync",
        after=int(rng.random() * 20),
        times=None if for_ever else 1,
        path=rng.choice(("journal.db-wal", "journal.db-wal", "journal.db", "")),
    )
    if for_ever:
        world.later(world.now_ns + int((0.2 + 25 * rng.random() ** 2) * SECOND), world.rack.disk.heal)
    return True


def _crash_repair(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Let the sync of a large group fail, and the process die while the database file is repaired behind it.

    It is large because the commit before it was slow: only a group with pages that are new to the WAL
    can leave a file that the WAL does not mend.
    """
    journal = world.rack.journal
    if journal is None:
        return False
    journal.commit_ns = int((1 + 3 * rng.random()) * SECOND)
    world.note("sync_slow", "before a repair")

    def struck() -> None:
        journal.commit_ns = world.options.commit_ns
        world.note("disk_error", "one sync")
        draw_crash(world.countdown, kind, rng)

    world.rack.disk.fail(
        "EIO",
        "sync",
        after=1 + int(rng.random() * 3),
        path="journal.db-wal",
        then=struck,
    )
    return False


def _sync_slow(world: World, life: Life, kind: str, rng: Random) -> bool:
    journal = world.rack.journal
    if journal is None:
        return False
    usual_ns, journal.commit_ns = world.options.commit_ns, int(5 * SECOND * rng.random())

    def well() -> None:
        journal.commit_ns = usual_ns

    world.later(world.now_ns + int(10 * SECOND * rng.random()), well)
    return True


# --- actors ---------------------------------------------------------------------------------------------


def _actor(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Let an actor die at one of its next messages, before or behind its work; sometimes its heirs, too.

    Where messages wait between steps it often is a strategy whose turn waits in the order manager's mail.
    """
    if _short_steps(world) and rng.random() < 0.4:
        world.ambush.lie(OMS, int(rng.random() * 3), partial(_orphan, world))
        return False
    cells = [cell for cell in life.kernel.cells if cell is not None and cell.actor is not None]
    if not cells:
        return False
    cell = rng.choice(cells)
    break_one(cell, int(rng.random() * 30), (), behind=rng.random() < 0.5)
    if rng.random() < 0.2:
        break_heirs(
            cell, rng.randint(1, 6), 1 + int(rng.random() * 20), lambda: world.witness.healed_ns is None
        )
    return True


def _orphan(world: World, owners: tuple[str, ...]) -> None:
    life, name = world.life, strategy_name(owners[0])
    assert life is not None, "nothing waits in a dead process"
    if orphan_turn(life, name):
        world.note("actor_raise", f"{name}, whose turn waits")


def _poison(world: World, life: Life, kind: str, rng: Random) -> bool:
    cell = life.kernel.cells[life.kernel.refs["oms"]]
    if cell is None or cell.actor is None:
        return False
    break_one(cell, int(rng.random() * 4), (VenueFill, ExecutionReport), behind=rng.random() < 0.5)
    return True


def _fall(world: World, life: Life, rng: Random) -> None:
    """Now and then let the order manager fall at the kill or stop that comes, and so may its successors.

    The last stop, behind the heal, is not among them.
    """
    cell = life.kernel.cells[life.kernel.refs["oms"]]
    if cell is None or cell.actor is None or not world.faults.has("actor_raise") or rng.random() < 0.6:
        return
    left, behind = rng.choice((1, 1, 1, 2, 4)), rng.random() < 0.5
    if not world.only.drawn("actor_raise", COMES_WITH):
        return
    world.note("actor_raise", f"at a kill or stop, {left} times")
    break_line(cell, left, (KillSwitch, Stop), lambda: world.witness.healed_ns is None, behind=behind)


def _book(world: World, life: Life | None, kind: str, rng: Random) -> bool:
    """Let the risk desk's book of a position be wrong by a usual order or more, which no lot comes up to.

    Half of them come right, the others a human resumes; none outlives the heal, which repairs no book.
    """
    desk, release_ns = world.witness.desk, world.now_ns + int((35 + 20 * rng.random()) * SECOND)
    book = None if desk is None else desk.accounts[ACCOUNT].book
    if not world.ready() or book is None or release_ns > T0 + world.options.fault_ns:
        return False
    instrument, owner = rng.choice(world.options.instruments).id, OwnerId(rng.choice(("api", "sim1")))
    off = world.options.sizes[instrument] * rng.choice((-2, -1, 1, 2))
    held = {} if life is None else book.held.setdefault(owner, {})
    held[instrument] = held.get(instrument, ZERO) + off
    comes_right = rng.random() < 0.5

    def release() -> None:
        if comes_right:
            held[instrument] -= off
        elif world.ready():
            world.operator.resume(None if life is None else world.life, instrument)
        else:
            world.later(world.now_ns + SECOND, release)

    world.later(release_ns, release)
    return True


# --- plug-ins -------------------------------------------------------------------------------------------


def _strategy(world: World, life: Life, kind: str, rng: Random) -> bool:
    """It misbehaves by itself, its settings say when; here it is only noted, if one can hear its timer."""
    if life.skew_ns:
        return False
    names = [strategy_name(name) for name in world.options.config.strategies]
    refs = life.kernel.refs
    cells = [life.kernel.cells[refs[name]] for name in names if name in refs]
    return any(cell is not None and cell.actor is not None for cell in cells)


def _executor(world: World, life: Life | None, kind: str, rng: Random) -> bool:
    mode: Mode = next(mode for mode in get_args(Mode) if mode == kind.removeprefix(EXECUTOR))
    return world.ready() and world.operator.order(life, world.witness.oms, mode)


def _rule(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Let a rule raise in all turns of the order manager for a while; between them it is as it was."""
    cell = life.kernel.cells[life.kernel.refs["oms"]]
    if cell is None or cell.handle is None:
        return False
    rule, until_ns = rng.choice(plugins("risk_rule")).make, world.now_ns + int(10 * SECOND * rng.random())
    handle = cell.handle

    def raises(*_: object) -> None:
        raise RuntimeError("scripted: a risk rule raises")

    def turn(msg: Any, ctx: Any) -> None:  # noqa: ANN401 whatever an actor takes
        before = rule.check
        rule.check = raises if ctx.now_ns - life.skew_ns < until_ns else before
        try:
            handle(msg, ctx)
        finally:
            rule.check = before

    cell.handle = turn
    return True


# --- store and operator ---------------------------------------------------------------------------------


def _store(world: World, life: Life, kind: str, rng: Random) -> bool:
    until_ns = world.now_ns + int(60 * SECOND * rng.random())
    words = {"store_slow": "slow_ns", "store_hung": "hung_ns", "store_partial": "partial_ns"}
    setattr(world.rack.trouble, words.get(kind, "failing_ns"), until_ns)
    return True


def _kill(world: World, life: Life | None, kind: str, rng: Random) -> bool:
    """Kill at once, or when a create waits somewhere: for the disk, in the gateway, for the socket.

    Replacements are rare among creates, so that some kills wait for one.
    """
    # Only between short steps does a create lie in the gateway's mail.
    heard = life is not None
    near = ("", LEVEL, LEVEL, JOURNAL, LINK)
    places = (*near, GATEWAY) if _short_steps(world) else near
    place, passes = rng.choice(places), int(rng.random() * 5)
    replaces = place in (JOURNAL, LINK) and rng.random() < 0.4
    if place:
        strike = partial(_strike, world, rng, heard, keeps=0.8 if place == LEVEL else 0.3)
        passes = 0 if place == LEVEL else passes
        world.ambush.lie(place, 0 if replaces else passes, strike, replaces=replaces)
    else:
        _strike(world, rng, heard, ())
    return False


def _short_steps(world: World) -> bool:
    return world.config.runtime.messages_per_step < PER_STEP


def _strike(world: World, rng: Random, heard: bool, scopes: tuple[str, ...], keeps: float = 0.3) -> None:
    """Kill a scope, and resume it some seconds later, in whatever life that is."""
    life = world.life
    assert life is not None, "nothing passes a dead process"
    if heard:
        world.note("kill")
        if world.faults.has("disk_error") and rng.random() < 0.5:
            _spoil_kill_byte(world, life, rng)
        _fall(world, life, rng)
    scope = world.operator.kill(life if heard else None, scopes if rng.random() < 0.8 else (), keeps=keeps)

    def resume() -> None:
        if not world.ready():
            world.later(world.now_ns + SECOND, resume)
        else:
            kills = world.witness.oms.trading.kills
            unheard = ALL in kills and kills[ALL].principal == KERNEL
            world.operator.resume(world.life if heard else None, ALL if unheard else scope)

    world.later(life.now_ns + int((1 + 30 * rng.random() ** 2) * SECOND), resume)


def _spoil_kill_byte(world: World, life: Life, rng: Random) -> None:
    """Let the disk take no kill byte for a while, and half of the time nothing else either."""
    on: Literal["write", "sync"] = "write" if rng.random() < 0.5 else "sync"
    path, heal_ns = rng.choice((KILL_END, "")), life.now_ns + int(5 * SECOND * rng.random())
    if world.only.drawn("disk_error", COMES_WITH):
        world.rack.disk.fail("EIO", on, times=None, path=path)
        world.note("disk_error", "kill byte")
        world.later(heal_ns, world.rack.disk.heal)


def _cancel_storm(world: World, life: Life | None, kind: str, rng: Random) -> bool:
    world.operator.cancel_storm(life)
    return True


def _resolve(world: World, life: Life | None, kind: str, rng: Random) -> bool:
    """Resolve a create in doubt: this human has looked at the venue's own book."""
    if not world.ready():
        return False
    trading = world.witness.oms.trading
    known = {order.client_order_id for order in world.venue.orders.values()}
    for name in trading.orders_live:
        if trading.orders[name].in_doubt is Doubt.CREATE and not world.venue.may_accept(name):
            world.operator.resolve(life, name, "PLACED" if name in known else "NOT_PLACED")
            return True
    return False


def _assign(world: World, life: Life | None, kind: str, rng: Random) -> bool:
    return world.ready() and world.operator.assign(life, world.witness.oms)


_ACTS: dict[str, Act] = {
    "crash_effect": _crash,
    "crash_disk": _crash,
    "crash_take": _crash,
    "crash_repair": _crash_repair,
    "stall": _stall,
    "stop": _stop,
    "link_death": _link,
    "swizzle": _swizzle,
    "disk_full": _disk,
    "disk_error": _disk,
    "sync_slow": _sync_slow,
    "actor_raise": _actor,
    "poison_fact": _poison,
    "rule_raise": _rule,
    "config_invalid": edits.invalid,
    "config_truncated": edits.truncated,
    "config_limit": edits.limit,
    "config_swap": edits.other_limits,
    "config_strategies": edits.other_strategies,
    "store_slow": _store,
    "store_hung": _store,
    "store_fails": _store,
    "store_partial": _store,
    **INFLUX_ACTS,
}
_SAID: dict[str, Said] = {
    "book_differs": _book,
    "kill": _kill,
    "cancel_storm": _cancel_storm,
    "resolve": _resolve,
    "assign": _assign,
}

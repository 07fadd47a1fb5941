"""Broken plug-ins in the whole system: through kernel, trace and journal, and up again from its fold."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.world import ACCOUNT, World, development, recordings
from tradefan import contracts
from tradefan.contracts import CancelChild, EndParent, PlaceChild, Settings, Wake
from tradefan.messages.orders import OrderStatus, SubmitOrder
from tradefan.units import SECOND, InstrumentId, OwnerId

D = Decimal
S = OrderStatus
BTC = InstrumentId("binance:BTC/USDT")
API = OwnerId("api")
QTY, PRICE, WANTED = D("0.1"), D(50_000), D("0.2")
BOUGHT = D("0.1998")
"""What is wanted less the fee, which spot takes from what was bought."""
QUIET = development("strategies.rebalance_btc.enabled=false")


class Mute(Exception):
    """An error that cannot even say its name."""

    def __repr__(self) -> str:
        raise RuntimeError("repr")

    __str__ = __repr__


def raising(error: BaseException) -> Any:
    """Return a decision that raises."""

    def decide(_view: Any) -> Any:
        raise error

    return decide


def endless(_view: Any) -> Iterator[Wake]:
    while True:
        yield Wake(0)


def breaks(_view: Any) -> Iterator[Wake]:
    yield Wake(0)
    raise ValueError("within a generator")


def place(qty: Any = QTY, price: Any = PRICE, *more: Any) -> Any:
    """Return a decision that places one child."""
    return lambda _view: (PlaceChild(qty, price, *(more or ("GTC",))),)


class Untyped(PlaceChild, frozen=True):
    """No command that anybody knows."""


PAUSED: dict[str, Any] = {
    "a huge price": place(D("0.1"), D("1E+45")),
    "a tiny price": place(D("0.1"), D("1E-45")),
    "a huge quantity": place(D("1E+40")),
    "a tiny quantity": place(D("1E-60")),
    "a signalling NaN": place(D("sNaN")),
    "a word for a flag": place(D("0.1"), D(50_000), "GTC", "yes"),
    "a flag of None": place(D("0.1"), D(50_000), "GTC", None),
    "a class of its own": lambda _view: (Untyped(D("0.1"), D(50_000), "GTC"),),
    "a reason in surrogates": lambda _view: (EndParent(S.CANCELED, "\ud800"),),
    "a reason without end": lambda _view: (EndParent(S.CANCELED, "x" * 100_000),),
    "an id in surrogates": lambda _view: (CancelChild("\ud800", ""),),  # type: ignore[arg-type]
    "a wake after all time": lambda _view: (Wake(2**70),),
    "a wake before all time": lambda _view: (Wake(-(2**70)),),
    "a wake in a year": lambda view: (Wake(view.now_ns + 365 * 86_400 * SECOND),),
    "a wake of True": lambda _view: (Wake(True),),
    "an endless generator": endless,
    "a generator that breaks": breaks,
    "no answer": lambda _view: None,
    "words in surrogates": raising(ValueError("bad symbol \ud800")),
    "an error without words": raising(Mute()),
    "an exit": raising(SystemExit(3)),
    "no end of calls": raising(RecursionError()),
}
REFUSED = {"making": "EXECUTOR_FAILED", "settings": "EXECUTOR_FAILED", "collar": "BAD_SETTING"}


class Half(Settings, frozen=True, kw_only=True):
    """A collar of the wrong type."""

    collar_bps: int = 5


class Raising(Settings, frozen=True, kw_only=True):
    """Settings that raise."""

    def __post_init__(self) -> None:
        raise KeyError("bug")


def executor(decide: Any, *, made: bool = True) -> type[Any]:
    """Return a plug-in that decides as it is told."""

    class Told:
        """Does as it is told."""

        def __init__(self, _settings: Settings) -> None:
            if not made:
                raise KeyError("bug")

        def decide(self, view: Any) -> Any:
            return () if view.busy else decide(view)

    return Told


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts, "_plugins", dict(contracts._plugins))
    for name, decide in PAUSED.items():
        contracts.register("executor", name)(executor(decide))
    contracts.register("executor", "generator")(executor(lambda view: (one for one in place()(view))))
    contracts.register("executor", "making")(executor(endless, made=False))
    contracts.register("executor", "settings", settings=Raising)(executor(endless))
    contracts.register("executor", "collar", settings=Half)(executor(endless))


def submit(world: World, algo: str, qty: Decimal = WANTED, ref: str = "") -> None:
    """Submit a wish to buy and let it have its effect."""
    wish = SubmitOrder(
        account=ACCOUNT,
        instrument=BTC,
        owner=API,
        ref=ref or algo,
        side="buy",
        order_qty=qty,
        algo=algo,
    )
    world.send("oms", wish)
    world.run(0.5)


def shown(world: World) -> dict[str, tuple[str, str]]:
    """Return phase and reason of each parent by its algorithm."""
    return {one.order.algo: (str(one.phase), one.reason) for one in world.view("oms").parents}


def test_executor_when_broken_in_any_way_then_its_parent_alone_pauses_and_the_journal_folds(
    tmp_path: Path,
) -> None:
    """No plug-in kills the OMS or the driver, or writes what the next start cannot read."""
    world = World(QUIET, tmp_path, recordings(), trace=True)
    world.run_until(world.ready)
    for name in (*PAUSED, *REFUSED, "generator", "market"):
        submit(world, name)
    paused = dict.fromkeys(PAUSED, ("PAUSED", "defect"))
    wanted = {**paused, "generator": ("WORKING", ""), "market": ("DONE", "")}
    assert shown(world) == wanted
    assert {one.ref: one.code for one in world.view("oms").refusals} == REFUSED
    assert {line.event for line in world.errors()} == {"parent_failed"}
    assert world.positions()["api", BTC] == BOUGHT
    assert world.driver.exit is None
    now_ns = world.driver.now_ns
    world.crash()
    again = World(QUIET, tmp_path, recordings(), start_ns=now_ns + SECOND)
    again.run_until(again.ready)
    assert {name: phase for name, phase in shown(again).items() if name in PAUSED} == paused
    assert again.positions()["api", BTC] == BOUGHT
    assert not again.errors()


def test_wish_when_its_number_is_huge_then_it_is_refused_and_nobody_dies(tmp_path: Path) -> None:
    """Four such wishes once ended the daemon: no actor is restarted for a number."""
    world = World(QUIET, tmp_path, recordings())
    world.run_until(world.ready)
    for serial in range(4):
        submit(world, "market", D("1E+40"), f"r{serial}")
    assert [one.code for one in world.view("oms").refusals] == ["BAD_NUMBER"] * 4
    assert not world.errors()
    assert world.driver.exit is None

"""A scene for the risk desk: one account, two instruments, books told by the OMS, and prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from tests.unit.actors.turns import Turns
from tests.unit.core.test_equity import BTC, ETH, SPOT, USDT, instrument
from tradefan.actors.risk_desk import RiskDesk
from tradefan.actors.risk_desk_state import RiskDeskWiring
from tradefan.config.schema import Config, RiskConfig
from tradefan.messages.account import EquityMark, OwnBook, SetMode
from tradefan.messages.base import Message
from tradefan.messages.control import Started
from tradefan.messages.instrument import Instrument
from tradefan.messages.market import Quote
from tradefan.messages.orders import PositionsSent
from tradefan.units import EXTERNAL, SECOND, AccountId, Asset, OwnerId, Ref, parse_iso

OMS, STORE = Ref(3), Ref(4)
MAIN = AccountId("paper:main")
ME = OwnerId("me")
ETHER = instrument("ETH/USDT", ETH, USDT)
T0 = parse_iso("2026-03-05T10:00:00Z")
TODAY = parse_iso("2026-03-05T00:00:00Z")
WIRING = RiskDeskWiring(OMS, (MAIN,), {one.id: one for one in (SPOT, ETHER)}, (STORE,))


def quote(where: Instrument, price: float, at_ns: int) -> Quote:
    return Quote(where.id, price - 0.5, 1.0, price + 0.5, 1.0, 7, at_ns)


def rest(asset: Asset, qty: str, transferred: str = "0") -> OwnBook:
    return OwnBook(MAIN, EXTERNAL, None, asset, Decimal(qty), Decimal(0), Decimal(transferred))


def held(where: Instrument, qty: str, cost: str = "0", owner: OwnerId = ME) -> OwnBook:
    return OwnBook(MAIN, owner, where.id, where.base, Decimal(qty), Decimal(cost))


SENT = PositionsSent(None, 1)


def mark(
    day: str,
    peak: str,
    seam: str = "0",
    day_start_ns: int = TODAY,
    btc: str | None = "100",
    transferred: dict[Asset, Decimal] | None = None,
) -> EquityMark:
    marks = {} if btc is None else {SPOT.id: Decimal(btc)}
    return EquityMark(
        MAIN, USDT, day_start_ns, Decimal(day), Decimal(peak), Decimal(seam), {}, marks, transferred or {}
    )


class Scene:
    """A desk, its turns, and the instant; prices are quoted just before each second."""

    def __init__(
        self,
        *books: Message,
        prices: dict[str, float] | None = None,
        instruments: tuple[Instrument, ...] = (SPOT, ETHER),
        **risk: Any,
    ) -> None:
        self.turns = Turns(Config(risk=RiskConfig(**risk)), T0)
        self.desk = RiskDesk(replace(WIRING, instruments={one.id: one for one in instruments}))
        self.give(Started(0))
        self.give(*books, SENT)
        self.price(**(prices or {"BTC": 100.0}))

    def give(self, *messages: Message) -> list[Message]:
        return [msg for _, msg in self.turns.give(self.desk, *messages)]

    def price(self, **prices: float) -> list[Message]:
        """Quote assets and let the next second come."""
        for base, price in prices.items():
            where = SPOT if base == "BTC" else ETHER
            self.give(quote(where, price, self.turns.now_ns + SECOND // 2))
        return self.wait(SECOND)

    def wait(self, ns: int) -> list[Message]:
        return [msg for _, msg in self.turns.until(self.desk, self.turns.now_ns + ns)]

    def modes(self, messages: list[Message]) -> list[tuple[str, str, str, str]]:
        found = [msg for msg in messages if isinstance(msg, SetMode)]
        return [(msg.scope, msg.cause, msg.mode, msg.code) for msg in found]

    @property
    def view(self) -> Any:
        return self.desk.view().accounts[0]


RICH = (rest(USDT, "900"), rest(BTC, "0"), held(SPOT, "1", "100"))
"""1,000 in all, a tenth of it in BTC at 100."""

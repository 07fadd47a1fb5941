"""A small stand-in for the daemon, and a client of the API in front of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from aiohttp import ClientSession

from tradefan.api.server import ApiLink
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import KillAnswer, Rejected
from tradefan.messages.orders import Answer, Asked, AskPlan, PlanAnswer, Refusal
from tradefan.units import AccountId, InstrumentId, OwnerId, ParentId

TOKEN = "t" * 43
CONTROL = {"Authorization": f"Bearer {TOKEN}"}
ORDER = {"symbol": "BTC/USDT", "side": "buy", "quantity": "0.5"}
BTC, MAIN = InstrumentId("binance:BTC/USDT"), AccountId("paper:main")
Reply = Callable[[Any], Answer | PlanAnswer | KillAnswer | Refusal | Rejected | None]


class Daemon:
    """What the API asks of a daemon: pictures, a clock that stands, and an OMS that replies at once."""

    def __init__(self) -> None:
        self.health_now: dict[str, Any] = {"status": "ok"}
        self.waiting: dict[str, str] = {}
        self.known: dict[str, dict[str, Any]] = {}
        self.heard: list[Message] = []
        self.asked: list[Asked] = []
        self.reply: Reply = lambda _: None
        self.now = 0
        self.costs: Callable[[str], dict[str, Any] | None] = lambda _: None
        self.closed: list[tuple[str, str]] = []
        self.link: ApiLink

    def close_latch(self, scope: str, reason: str) -> None:
        self.closed.append((scope, reason))

    def now_ns(self) -> int:
        return self.now

    def deliver_to(self, actor: str, msg: Message) -> None:
        assert actor == "oms"
        if isinstance(msg, Asked):
            self.asked.append(msg)
        wish = msg.wish if isinstance(msg, Asked | AskPlan) else msg
        self.heard.append(wish)
        reply = self.reply(wish)
        if isinstance(reply, Rejected):
            self.link.rejected(reply)
        elif reply is not None:
            self.link.apply(reply)

    def health(self) -> dict[str, Any]:
        return self.health_now

    def ready(self) -> dict[str, Any]:
        return {"ready": not self.waiting, "waiting": self.waiting}

    def status(self) -> dict[str, Any]:
        return {"equity": Decimal("1000000.5000"), "owner": OwnerId("me")}

    def metrics(self) -> bytes:
        return b"tradefan_fills_total 0.0\n"

    def orders(self) -> dict[str, Any]:
        return {"orders": list(self.known.values()), "more_open": 0, "more_done": 0}

    def order(self, parent_id: str) -> dict[str, Any] | None:
        return self.known.get(parent_id)

    def tca(self, parent_id: str) -> Callable[[], dict[str, Any] | None]:
        return lambda: self.costs(parent_id)

    def tcas(self, since_ns: int) -> Callable[[], dict[str, Any]]:
        return lambda: {"since_ns": since_ns, "rows": []}

    def strategies(self) -> list[dict[str, Any]]:
        return []

    def resolve(self, symbol: str, account: str | None) -> tuple[AccountId, InstrumentId]:
        if symbol != "BTC/USDT":
            raise Refused("UNKNOWN_INSTRUMENT", f"no feed carries {symbol!r}")
        return MAIN, BTC

    def scope(self, word: str) -> str:
        if word not in ("all", "paper:main", "BTC/USDT"):
            raise Refused("UNKNOWN_SCOPE", f"no scope {word!r}")
        return BTC if word == "BTC/USDT" else word

    def accept(self, parent_id: str, *, known: bool = False) -> None:
        """Let the OMS accept every wish as this parent."""
        self.known[parent_id] = {"parent_id": parent_id, "owner": "api"}
        self.reply = lambda wish: Answer(wish.req, (ParentId(parent_id),), known)


class Web:
    """A client of a listening link; `call` returns status and JSON."""

    def __init__(self, session: ClientSession, daemon: Daemon, port: int) -> None:
        self.session = session
        self.daemon = daemon
        self.port = port

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.request(method, f"http://127.0.0.1:{self.port}{path}", **options) as answer:
            if answer.content_type != "application/json":
                return answer.status, await answer.text()
            return answer.status, await answer.json()

    async def code(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Return the status and the code of a refusal."""
        status, body = await self.call(method, path, **options)
        return status, body["error"]["code"]


Start = Callable[..., Any]
"""A function that makes a link with these settings listen, and returns a client of it."""


def refusal(code: str, req: int | None, **words: str) -> Refusal:
    return Refusal(
        account=MAIN,
        instrument=BTC,
        owner=OwnerId("api"),
        ref="r",
        code=code,
        text="no",
        limit=words.get("limit"),
        used=words.get("used"),
        would_pass=words.get("would_pass"),
        at_ns=0,
        req=req,
    )

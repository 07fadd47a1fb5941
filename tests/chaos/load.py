"""A client that trades without pause: small orders and cancels at random, whether anybody listens or not."""

from __future__ import annotations

import random
import threading
from typing import Any

from tests.integration.daemon_process import DaemonProcess

PAUSE_S = 0.01
RESTING_MAX = 60
"""More would meet the venue's own limit of open orders."""
UNANSWERED_MAX = 20
"""While nobody listens no more wishes are made up."""
SIZES = {"BTC/USDT": "0.002", "ETH/USDT": "0.03"}


class Load:
    """Submits and cancels from a thread of its own; remembers every answer, and asks again without one.

    A wish that got no answer is given once more with the same ref, as a careful client does: it must
    not become a second order.
    """

    def __init__(self, daemon: DaemonProcess, seed: int) -> None:
        self.daemon = daemon
        self.answered: dict[str, str] = {}
        self.cancelled: dict[str, None] = {}
        self.refused = 0
        self._random = random.Random(seed)
        self._unanswered: dict[str, dict[str, Any]] = {}
        self._resting: list[str] = []
        self._prices: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._count = 0

    def start(self) -> Load:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def settle(self) -> None:
        """Learn what became of each wish that got no answer; the daemon is ready."""
        for wish in list(self._unanswered.values()):
            self._submit(wish)
        assert self._unanswered == {}

    # --- in the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_S):
            self._act()

    def _act(self) -> None:
        dice = self._random.random()
        if self._resting and (dice < 0.25 or len(self._resting) > RESTING_MAX):
            self._cancel(self._random.randrange(len(self._resting)))
        elif self._unanswered and (dice < 0.35 or len(self._unanswered) > UNANSWERED_MAX):
            self._submit(self._random.choice([*self._unanswered.values()]))
        elif not self._prices or dice > 0.95:
            self._look()
        else:
            self._submit(self._wish())

    def _cancel(self, number: int) -> None:
        code, _ = self.daemon.ask(f"/api/v1/orders/{self._resting[number]}/cancel", {})
        if code == 202:
            self.cancelled[self._resting[number]] = None
        if code in (202, 404, 422):
            del self._resting[number]

    def _look(self) -> None:
        code, status = self.daemon.ask("/status")
        if code == 200:
            found = {feed["instrument"].partition(":")[2]: feed["last"] for feed in status["feeds"]}
            self._prices = {symbol: float(last) for symbol, last in found.items() if last is not None}

    def _wish(self) -> dict[str, Any]:
        symbol = self._random.choice([*self._prices])
        self._count += 1
        wish: dict[str, Any] = {
            "symbol": symbol,
            "side": self._random.choice(("buy", "buy", "sell")),
            "quantity": SIZES[symbol],
            "ref": f"load-{self._count}",
        }
        if self._random.random() < 0.7:
            away = self._random.choice((0.0, 0.0002, 0.002, 0.015)) * (1 if wish["side"] == "sell" else -1)
            digits = 1 if symbol.startswith("BTC") else 2
            wish |= {"algo": "limit", "limit_price": f"{self._prices[symbol] * (1 + away):.{digits}f}"}
        return wish

    def _submit(self, wish: dict[str, Any]) -> None:
        self._unanswered[wish["ref"]] = wish
        code, answer = self.daemon.ask("/api/v1/orders", wish)
        if code in (200, 201):
            self.answered[wish["ref"]] = answer["parent_id"]
            self._resting.append(answer["parent_id"])
        elif code in (400, 422):
            self.refused += 1
        if code in (200, 201, 400, 422):
            self._unanswered.pop(wish["ref"])

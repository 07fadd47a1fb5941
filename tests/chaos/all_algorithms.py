"""A client that keeps one order of every algorithm at work, whoever dies meanwhile."""

from __future__ import annotations

from typing import Any

from tests.integration.daemon_process import DaemonProcess

SYMBOL = "BTC/USDT"
QTY, STOCK = "0.003", "0.05"
OPEN_MAX = 30
WINDOW = {"duration": "12s", "on_restart": "resume"}
SLICED = {**WINDOW, "interval": "1s", "end_grace": "3s"}
KINDS: dict[str, dict[str, Any]] = {
    "market": {},
    "limit": {"algo": "limit", "away": -0.0002, "settings": {"duration": "8s", "on_restart": "resume"}},
    "twap": {"algo": "twap", "settings": SLICED},
    "twap passive": {"algo": "twap", "settings": {**SLICED, "tactic": "passive", "at_end": "extend:3s"}},
    "vwap": {"algo": "vwap", "settings": SLICED},
    "vwap dynamic": {"algo": "vwap", "settings": {**SLICED, "mode": "dynamic"}},
    "pov": {"algo": "pov", "settings": {**WINDOW, "min_gap": "1s", "clip_life": "2s"}},
    "iceberg": {"algo": "iceberg", "settings": {**WINDOW, "display": "0.001", "peg": True}},
    "iceberg sale": {
        "algo": "iceberg",
        "side": "sell",
        "settings": {**WINDOW, "display": "0.001", "peg": True},
    },
    "stop": {"algo": "stop", "side": "sell", "trigger": -0.0001},
    "stop twap": {"algo": "stop", "side": "sell", "trigger": -0.0002, "settings": {"then": "twap", **SLICED}},
    "stop limit": {"algo": "stop_limit", "side": "sell", "trigger": -0.0001, "away": -0.002},
    "take profit": {"algo": "take_profit", "side": "sell", "trigger": 0.0001},
    "trailing": {"algo": "trailing", "side": "sell", "settings": {"callback_bps": "1"}},
    "oco": {"algo": "oco", "side": "sell", "legs": 0.0001},
    "bracket": {"algo": "bracket", "settings": {"take_profit": {"offset_bps": 1}, "stop": {"offset_bps": 1}}},
}
"""`away` is a limit, `trigger` a level and `legs` how far both legs are, as shares of the last price.

In 10 s the recording moves by 1 to 2 bps: some triggers fire at once, others are armed over several kills.
"""


class AllAlgorithms:
    """Submits what is missing; a wish without an answer is asked again under the same ref."""

    def __init__(self, daemon: DaemonProcess) -> None:
        """Begin without an order."""
        self.daemon = daemon
        self.answered: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self._wishes: dict[str, dict[str, Any]] = {}
        self._rounds = self._stocks = 0

    def has_stock(self) -> bool:
        """Buy what sales are of; say whether it is there. A market order that ends without it is followed."""
        name = self.answered.get(f"stock {self._stocks}")
        code, told = self.daemon.ask(f"/api/v1/orders/{name}") if name else (0, {})
        if name is None or (code == 200 and told["phase"] == "DONE" and told["status"] != "FILLED"):
            self._stocks += 1
            self._submit({"symbol": SYMBOL, "side": "buy", "quantity": STOCK, "ref": f"stock {self._stocks}"})
        return code == 200 and bool(told["status"] == "FILLED")

    def submit(self) -> None:
        """Ask again for what got no answer; then for one order of each kind, where not too many are open."""
        for wish in [*self._wishes.values()]:
            self._submit(wish)
        if self._wishes or self.open() > OPEN_MAX:
            return
        price = self._price()
        if price is None:
            return
        self._rounds += 1
        for kind, made in KINDS.items():
            self._submit(_wish(kind, made, price, self._rounds))

    def open(self) -> int:
        """Return how many orders are open, or too many when nobody says."""
        found = self._open()
        return OPEN_MAX + 1 if found is None else len(found)

    def at_work(self) -> set[str]:
        """Return what `history_engine.at_work` does, as the daemon tells of its newest orders."""
        code, told = self.daemon.ask("/api/v1/orders")
        kinds = {name: ref.rpartition(" ")[0] for ref, name in self.answered.items()}
        found = set()
        for one in told["orders"] if code == 200 else ():
            if one["group"] is None and one["trigger"] is not None and one["trigger"]["fired_ns"] is not None:
                found.add(one["algo"])
            elif one["group"] in kinds and one["leg"] != "entry" and float(one["cum_qty"]):
                found.add(kinds[one["group"]])
        return found

    def is_over(self) -> bool:
        """Cancel what does not end by itself; say whether nothing is open any more."""
        found = self._open()
        for name in found or ():
            self.daemon.ask(f"/api/v1/orders/{name}/cancel", {})
        return found == []

    def _open(self) -> list[str] | None:
        """Return the parents that are not done; None when nobody says."""
        code, told = self.daemon.ask("/api/v1/orders")
        return [one["parent_id"] for one in told["orders"] if one["phase"] != "DONE"] if code == 200 else None

    def _price(self) -> float | None:
        code, status = self.daemon.ask("/status")
        last = (
            [one["last"] for one in status["feeds"] if one["instrument"].endswith(SYMBOL)]
            if code == 200
            else []
        )
        return float(last[0]) if last and last[0] is not None else None

    def _submit(self, wish: dict[str, Any]) -> None:
        self._wishes[wish["ref"]] = wish
        code, answer = self.daemon.ask("/api/v1/orders", wish)
        if code in (200, 201):
            self.answered[wish["ref"]] = answer["parent_id"]
        elif code in (400, 422):
            self.refused[wish["ref"]] = str(answer)
        if code in (200, 201, 400, 422):
            del self._wishes[wish["ref"]]


def _wish(kind: str, made: dict[str, Any], price: float, number: int) -> dict[str, Any]:
    side, settings = made.get("side", "buy"), dict(made.get("settings", {}))
    wish: dict[str, Any] = {"symbol": SYMBOL, "side": side, "quantity": QTY, "ref": f"{kind} {number}"}
    if "algo" in made:
        wish["algo"] = made["algo"]
    if "away" in made:
        wish["limit_price"] = f"{price * (1 + made['away']):.1f}"
    # The market may have passed a level since its price was asked for.
    if "trigger" in made:
        settings |= {"trigger_price": f"{price * (1 + made['trigger']):.1f}", "allow_immediate": True}
    if "legs" in made:
        settings["take_profit"] = {"limit_price": f"{price * (1 + made['legs']):.1f}"}
        level = f"{price * (1 - made['legs']):.1f}"
        settings["stop"] = {"trigger_price": level, "allow_immediate": True}
    return {**wish, "settings": settings, "reduce_only": side == "sell" and made["algo"] != "iceberg"}

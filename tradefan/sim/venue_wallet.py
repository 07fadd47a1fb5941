"""What an account of the simulated venue holds: free and locked, now and a moment ago."""

from __future__ import annotations

from decimal import Decimal

from tradefan.sim.venue_records import picture_at
from tradefan.units import ZERO
from tradefan.venues.paper_state import PaperBalance

PAST_MAX = 512


class Wallet:
    """Balances by asset, free and locked together; `horizon_ns` is how far back they are remembered."""

    def __init__(self, balances: dict[str, Decimal], horizon_ns: int) -> None:
        """Hold these since ever."""
        self.balances = dict(balances)
        self._locked: dict[str, Decimal] = {}
        self._changed: dict[str, bool] = {}
        self._past: list[tuple[int, dict[str, tuple[Decimal, Decimal]]]] = []
        self._horizon_ns = horizon_ns
        self._remember(0)

    def free(self, asset: str) -> Decimal:
        """Return what may be spent."""
        return self.balances.get(asset, ZERO) - self._locked.get(asset, ZERO)

    def pay(self, asset: str, qty: Decimal) -> None:
        """Move something in, or out where it is negative."""
        self.balances[asset] = self.balances.get(asset, ZERO) + qty
        self._changed[asset] = True

    def lock(self, asset: str, qty: Decimal) -> None:
        """Move from free to locked, or back where it is negative."""
        self._locked[asset] = self._locked.get(asset, ZERO) + qty
        self._changed[asset] = True

    def settle(self, at_ns: int) -> tuple[tuple[str, Decimal, Decimal], ...]:
        """Remember how it stands, and return what changed as (asset, free, locked)."""
        changed = tuple(self._changed)
        if changed:
            self._changed.clear()
            self._remember(at_ns)
        return tuple((asset, self.free(asset), self._locked.get(asset, ZERO)) for asset in changed)

    def at(self, at_ns: int) -> dict[str, PaperBalance]:
        """Return all balances as they stood at an instant."""
        rows = picture_at(self._past, at_ns) or self._past[0][1]
        return {asset: PaperBalance(free, locked) for asset, (free, locked) in rows.items()}

    def _remember(self, at_ns: int) -> None:
        rows = {asset: (self.free(asset), self._locked.get(asset, ZERO)) for asset in self.balances}
        self._past.append((at_ns, rows))
        if len(self._past) > PAST_MAX:
            # The newest of those that nobody can ask for any more stays: it still holds.
            young = sum(since_ns >= at_ns - self._horizon_ns for since_ns, _ in self._past)
            self._past = self._past[-young - 1 :]

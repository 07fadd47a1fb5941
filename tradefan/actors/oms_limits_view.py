"""How much of the position limits accounts have used: for metrics, read between steps."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from tradefan.actors.oms_gate import fee_of, worst_of
from tradefan.actors.oms_state import OmsState, OmsWiring
from tradefan.config.schema import Config
from tradefan.core.trading import Trading
from tradefan.units import EXTERNAL, ZERO, AccountId, InstrumentId, exact


class PositionUse(NamedTuple):
    """Shares of `risk.max_position` and `risk.max_position_notional`; beyond 1 the mode is tighter."""

    max_position: Decimal
    max_position_notional: Decimal


def position_use(state: OmsState, wiring: OmsWiring, config: Config) -> dict[AccountId, PositionUse]:
    """Return the highest use by account, of all its instruments, its net and each owner.

    It is that of the worst case, as `oms_modes` judges it. What has no quote has no worth here.
    """
    found = {}
    for account in wiring.accounts:
        uses = [*_uses(state, wiring, config, account)]
        positions, notionals = zip((ZERO, ZERO), *uses, strict=True)
        found[account] = PositionUse(max(positions), max(notionals))
    return found


def _uses(
    state: OmsState, wiring: OmsWiring, config: Config, account: AccountId
) -> Iterator[tuple[Decimal, Decimal]]:
    known = config.accounts.get(account)
    fees = ZERO if known is None else fee_of(known)
    for name in wiring.accounts[account]:
        found = state.live.instruments.get(name) or wiring.instruments.get(name)
        limits, quote = config.risk.limits(name), state.live.quotes.get(name)
        mid = ZERO if quote is None else (exact(quote.bid) + exact(quote.ask)) / 2
        for owner in (None, *_owners(state.trading, account, name)):
            most = worst_of(state.trading, found, account, name, owner)
            yield most / limits.max_position, most * mid / (limits.max_position_notional * (1 + fees))


def _owners(trading: Trading, account: AccountId, name: InstrumentId) -> list[str]:
    """Return who holds of an instrument or has orders in it."""
    holding = trading.ledger.positions.get(account, {})
    owners = {owner for owner, by_instrument in holding.items() if name in by_instrument}
    owners |= trading.exposure.owners.get(account, {}).get(name, {}).keys()
    return [owner for owner in owners if owner != EXTERNAL]

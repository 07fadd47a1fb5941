"""The scopes of an order: where a mode, or a closed latch, forbids it."""

from __future__ import annotations

from tradefan.units import AccountId, InstrumentId, OwnerId


def scopes(account: AccountId, instrument: InstrumentId, owner: OwnerId) -> tuple[str, ...]:
    """Return the scopes whose modes hold for an order; a venue is the first part of an id."""
    venues = dict.fromkeys((account.partition(":")[0], instrument.partition(":")[0]))
    return ("all", instrument, account, owner, *venues)

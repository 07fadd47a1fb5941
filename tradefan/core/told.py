"""What moves a position, told as fills: to owners, risk desk and store alike, live and from the journal."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from tradefan.core.apply_orders import corrected, share_of
from tradefan.core.trading_state import Trading
from tradefan.messages.records import Bust, Correct, Fill, FillInferred, FillReplaced
from tradefan.units import TradeId

Moving: TypeAlias = Fill | FillInferred | FillReplaced | Bust | Correct


def told(state: Trading, record: Moving, lsn: int) -> tuple[Fill, ...]:
    """Return a record as fills, before it is applied; `lsn` is its number in the journal.

    What is taken back has a negative quantity and a name of its own, which its number makes unique.
    """
    match record:
        case Fill():
            return (record,)
        case FillInferred():
            return (record.fill,)
        case FillReplaced():
            known = state.inferred.get(record.trade_id)
            if known is None:
                return ()
            return (_reverse(share_of(known, record.qty), f"replaced {record.trade_id} {lsn}"),)
        case Bust() | Correct():
            if record.fill is None:
                return ()
            taken = _reverse(record.fill, f"bust {record.trade_id} {lsn}")
            if isinstance(record, Bust):
                return (taken,)
            now = corrected(record.fill, record)
            return taken, msgspec.structs.replace(now, trade_id=TradeId(f"corrected {record.trade_id} {lsn}"))


def _reverse(fill: Fill, name: str) -> Fill:
    return msgspec.structs.replace(fill, trade_id=TradeId(name), qty=-fill.qty, fee=-fill.fee)

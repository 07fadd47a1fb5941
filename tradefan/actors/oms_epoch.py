"""Epochs: what an id of ours begins with, so that none is ever made twice.

Each start begins one above all that the journal knows. A journal that was restored or lost its tail
does not know all of them: then the venue shows ids that are still to come.
"""

from __future__ import annotations

from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_waiting import drop_creates
from tradefan.core.ids import EPOCH_MAX, is_own, made_as, next_epoch
from tradefan.messages.records import Epoch
from tradefan.units import AccountId, ClientOrderId

AHEAD_MAX = 2**16
"""So many starts may a journal have lost: ids from further ahead are forged, and would use all epochs up."""


def begin_epoch(turn: Turn, above: int, *, restart: int) -> int:
    """Journal the epoch of all ids from now on; what waits in the outbox behind it is behind its EPOCH."""
    epoch, wiring = next_epoch(above), turn.wiring
    turn.emit(Epoch(turn.now, epoch, wiring.instance, turn.ctx.config_id, wiring.version, restart=restart))
    return epoch


def keep_ahead(turn: Turn, account: AccountId, name: ClientOrderId | None) -> None:
    """Begin another epoch where the venue names an id of ours that we have not made yet, or not there.

    The next create would be made with an id that the venue knows. So EPOCH is durable before it, as at
    a start, and what has not left yet never does.
    """
    trading = turn.trading
    known = None if name is None else trading.orders.get(name)
    here = known is not None and known.account == account
    if name is None or here or not is_own(name, turn.wiring.instance):
        return
    epoch, sequence = made_as(name)
    unmade = (epoch, sequence) > (trading.epoch, trading.sequence)
    elsewhere = known is not None and epoch == trading.epoch
    # Above the last epoch there is none to go to.
    if not (unmade or elsewhere) or epoch - trading.epoch > AHEAD_MAX or epoch + 1 >= EPOCH_MAX:
        return
    drop_creates(turn, lambda _: True, "epoch used before")
    begun = begin_epoch(turn, epoch, restart=max(turn.live.restart, 1))
    turn.log("critical", "epoch_used_before", account=account, client_order_id=name, epoch=begun)

"""What the markets say, but for quotes: how feeds are, what trades, which rules hold."""

from __future__ import annotations

from tradefan.actors.oms_policy import wake_parents
from tradefan.actors.oms_state import Turn
from tradefan.actors.oms_tca import on_break
from tradefan.actors.oms_tca_market import on_lost
from tradefan.actors.oms_tca_market import on_volume as keep_paces
from tradefan.actors.oms_trigger import on_quality
from tradefan.actors.oms_volume import ask, on_volume, recount
from tradefan.actors.oms_waiting import drop_creates
from tradefan.actors.oms_watch import begin_anew, follow, follows, rescale
from tradefan.messages.instrument import InstrumentUpdate
from tradefan.messages.market import FeedQuality, Quality, SessionBreak, VolumeTick


def on_feed(turn: Turn, msg: FeedQuality) -> None:
    """A feed that cannot be trusted has no reference, and the creates that wait go with it."""
    known = turn.live.qualities.get(msg.instrument)
    turn.live.qualities[msg.instrument] = msg
    if msg.quality is Quality.LIVE and msg.instrument in turn.live.halted:
        # It trades again once somebody sees so.
        turn.live.halted[msg.instrument] = turn.now
    turn.judge = True
    on_quality(turn, msg, None if known is None else known.quality)
    if follows(turn, msg.instrument):
        # A market that began anew tells nobody its trades.
        follow(turn, msg.instrument, on=True)
    wake_parents(turn, msg.instrument)
    if msg.instrument in turn.live.tapes:
        # A market that began anew follows nothing.
        ask(turn, msg.instrument, on=True)
    if msg.quality in (Quality.STALE, Quality.BLIND):
        on_lost(turn, msg.instrument)
        turn.live.quotes.pop(msg.instrument, None)
        drop_creates(turn, lambda create: create.instrument == msg.instrument, f"feed {msg.quality}")


def on_session_break(turn: Turn, msg: SessionBreak) -> None:
    """Prices of two sessions are no movement, and their time is none."""
    turn.live.quotes.pop(msg.instrument, None)
    begin_anew(turn, msg.instrument)
    on_break(turn, msg.instrument)


def on_tick(turn: Turn, msg: VolumeTick) -> None:
    """Count what has traded, for whoever follows it."""
    on_volume(turn, msg)
    keep_paces(turn, msg.instrument)


def on_rules(turn: Turn, msg: InstrumentUpdate) -> None:
    """Take the rules of an instrument: other steps, a halt or its end."""
    now, before = msg.instrument, turn.instrument(msg.instrument.id)
    turn.live.instruments[now.id] = now
    if before is not None and before.status != "TRADING" == now.status:
        turn.live.halted[now.id] = turn.now
    if before is not None:
        recount(turn, before, now)
    rescale(turn, now.id)
    wake_parents(turn, now.id)

"""What a handler returned, as one turn to the OMS: each wish became a command or was refused.

What has gone out is remembered for a while, so that the strategy can be told what an OMS lost.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from tradefan.actors.trader_state import OnStop, Sent, TraderState, TraderWiring
from tradefan.config.schema import Config
from tradefan.core.mids import FRESH_NS
from tradefan.core.wish import Order, Sender, decision_text, message_of
from tradefan.errors import Defect, Refused
from tradefan.messages.account import IndicatorPoint
from tradefan.messages.market import Quality
from tradefan.messages.orders import CancelAll, OwnerTurn, Refusal, SetTarget, SubmitOrder
from tradefan.runtime.actor import Context
from tradefan.strategy.view import Picture, find_instrument
from tradefan.strategy.wishes import AlertWish, AnyWish, CancelWish, NoteWish, RecordWish, SayWish, Wish
from tradefan.units import InstrumentId, clean, exact

NAMES_MAX = 64
"""Names under which one strategy records: each is a series of its own for ever."""
WISHES_MAX = 256
"""Wishes of one turn, which is one message: a flood must not get past the OMS's commands lane in it."""
SENT_MAX = WISHES_MAX
"""Commands remembered in case an OMS loses them; what is wished in their place has to fit one turn."""
RESTARTING = "RESTARTING"


class Part(Struct, frozen=True):
    """One wish of a turn with its id: the command that it became, or why it became none."""

    wish: Wish
    ref: str
    instrument: InstrumentId | None
    command: Order | None
    no: Refused | None = None


def wishes_of(name: str, answer: object) -> tuple[AnyWish, ...]:
    """Return what a handler of the strategy `name` returned as wishes.

    Raises:
        Defect: it returned something else, or more than a turn may hold.
    """
    listed: tuple[object, ...] = tuple(answer) if isinstance(answer, tuple | list) else (answer,)
    if len(listed) > WISHES_MAX:
        raise Defect(f"{name}: a handler returns at most {WISHES_MAX} wishes, not {len(listed)}")
    wishes: list[AnyWish] = []
    for wish in listed:
        if not isinstance(wish, Wish | SayWish):
            known = "target, buy, sell, cancel, record, note, alert"
            raise Defect(f"{name}: a handler returns wishes ({known}) or (), not {wish!r}")
        wishes.append(wish)
    return tuple(wishes)


def part_of(wish: Wish, ref: str, wiring: TraderWiring, picture: Picture) -> Part:
    """Return a wish with its command, in whole lots and with the quotes of this instant."""
    instrument: InstrumentId | None = None
    sender = Sender(wiring.account, wiring.owner, ref, wiring.capital)
    try:
        symbol = None if isinstance(wish, CancelWish) else wish.symbol
        if symbol is not None:
            instrument = find_instrument(picture.instruments, wiring.venue, symbol)
        rules = picture.instruments[instrument] if instrument else None
        quote = picture.quotes.get(instrument) if instrument else None
        return Part(wish, ref, instrument, _decided(message_of(wish, sender, rules, quote), picture))
    except Refused as no:
        return Part(wish, ref, instrument, None, no)


def _decided(command: Order, picture: Picture) -> Order:
    """Return a wish with the mid that it was decided at, where the strategy saw one."""
    if not isinstance(command, SubmitOrder | SetTarget):
        return command
    quote, feed = picture.quotes.get(command.instrument), picture.quality.get(command.instrument)
    live = feed is not None and feed.quality is Quality.LIVE
    if quote is None or not live or picture.now_ns - quote.recv_ns > FRESH_NS:
        return command
    return replace(command, decision_px=(exact(quote.bid) + exact(quote.ask)) / 2)


def refusal_of(part: Part, wiring: TraderWiring, now_ns: int) -> Refusal:
    """Return why a part of a turn was not sent; without a reason of its own there was no room."""
    no = part.no or Refused("QUEUE_FULL", "the order manager takes no more commands now")
    return _refusal(wiring, part.instrument, part.ref, no, now_ns)


# --- what goes out ------------------------------------------------------------------------------------


def send_turn(
    state: TraderState,
    wiring: TraderWiring,
    changed: bytes | None,
    commands: tuple[Order, ...],
    ctx: Context,
) -> bool:
    """Send commands and a changed State as one message; False: no room, and all of it stays here.

    A strategy that does not know yet what the journal holds has no turn's number: what is left to say
    then, at a stop, goes singly.
    """
    if not commands and changed is None:
        return True
    if not (state.started or state.positions_known):
        taken = [ctx.send(wiring.oms, command) for command in commands]
        return all(taken)
    turn = OwnerTurn(wiring.owner, state.turn + 1, changed, commands, state.asked)
    if not ctx.send(wiring.oms, turn):
        return False
    state.turn += 1
    _remember_sent(state, state.turn, commands)
    if changed is not None:
        state.journaled = changed
    return True


def new_ref(state: TraderState, ctx: Context) -> str:
    """Return an id that this owner never used: the OMS's generation is durable, the number the run's."""
    return f"t-{state.generation}-{ctx.next_id()}"


def last_orders(wiring: TraderWiring, ctx: Context) -> tuple[Order, ...]:
    """Return what is to become of orders at a stop, as the instance's `on_stop` says.

    The order manager has begun to stop, too: it alone sells what `flatten` means, behind the cancels.
    """
    mine = ctx.config.strategies.get(wiring.owner) if isinstance(ctx.config, Config) else None
    policy: OnStop = wiring.on_stop if mine is None else mine.on_stop
    if policy == "leave":
        return ()
    return (CancelAll(wiring.owner),)


# --- what is said beside it ---------------------------------------------------------------------------


def say(wish: SayWish, state: TraderState, wiring: TraderWiring, ctx: Context) -> None:
    """Keep a number, or write a sentence into the log; what cannot be is written there as well."""
    match wish:
        case RecordWish(name, value, symbol):
            try:
                instrument = _instrument_of(symbol, name, state, wiring)
            except Refused as no:
                ctx.log("warning", "not_recorded", owner=wiring.owner, name=name, code=no.code, text=no.text)
                return
            state.recorded[name] = None
            state.ordinal += 1
            point = IndicatorPoint(wiring.owner, instrument, name, ctx.now_ns, value, state.ordinal)
            for store in wiring.stores:
                ctx.send(store, point)
        case NoteWish(text):
            ctx.log("info", "strategy_note", owner=wiring.owner, text=clean(text))
        case AlertWish(text, severity):
            ctx.log(severity, "strategy_alert", owner=wiring.owner, text=clean(text))


def _instrument_of(symbol: str | None, name: str, state: TraderState, wiring: TraderWiring) -> InstrumentId:
    if name not in state.recorded and len(state.recorded) >= NAMES_MAX:
        raise Refused("TOO_MANY_NAMES", f"expected at most {NAMES_MAX} names, {name!r} is one more")
    if symbol is None:
        return InstrumentId("")
    return find_instrument(state.picture.instruments, wiring.venue, symbol)


# --- what is shown of it ------------------------------------------------------------------------------


def note_refusal(state: TraderState, refusal: Refusal) -> None:
    """Count a refusal, and keep its words for status."""
    state.counters.refusals += 1
    state.refusal = f"{refusal.code}: {refusal.text}"


def note_decision(state: TraderState, wiring: TraderWiring, wish: Wish, ctx: Context) -> None:
    """Count a command; a wish that repeats the last one of its symbol is no new decision."""
    state.counters.commands += 1
    key, text = decision_text(wish)
    if state.decisions.get(key) == text:
        return
    state.decisions[key] = text
    state.decision, state.decided_ns = text, ctx.now_ns
    ctx.log("info", "strategy_decided", owner=wiring.owner, decision=text)


# --- turns that an OMS lost -------------------------------------------------------------------------


def _remember_sent(state: TraderState, turn: int, commands: tuple[Order, ...]) -> None:
    """Keep what went out with a turn: an OMS, or the journal's link, may take it down with it."""
    for command in commands:
        ref = str(getattr(command, "ref", None) or getattr(command, "parent_id", ""))
        state.sent.append(Sent(turn, getattr(command, "instrument", None), ref))
    over = max(len(state.sent) - SENT_MAX, 0)
    if over:
        state.forgotten = state.sent[over - 1].turn
        del state.sent[:over]


def is_news(state: TraderState, refusal: Refusal) -> bool:
    """Take note of a refusal; False where the strategy has heard it as a lost command's."""
    if refusal.code == RESTARTING and refusal.ref in state.told:
        del state.told[refusal.ref]
        return False
    for place, one in enumerate(state.sent):
        if (one.ref, one.instrument) == (refusal.ref, refusal.instrument):
            del state.sent[place]
            break
    return True


def lose_turns(state: TraderState, wiring: TraderWiring, known: int, now_ns: int) -> None:
    """Have the commands told as refused whose turns are behind the last one that the OMS knows.

    Raises:
        Defect: there were more than are remembered. A successor begins with the State of the turn `known`.
    """
    if known < state.forgotten:
        text = f"the order manager knows turn {known} of {state.turn}, expected at least {state.forgotten}"
        raise Defect(f"{wiring.owner}: {text}: begin anew with the journaled state")
    no = Refused(RESTARTING, "the order manager began anew without this command: decide again")
    gone = [one for one in state.sent if one.turn > known]
    state.sent = [one for one in state.sent if one.turn <= known]
    state.lost += [_refusal(wiring, one.instrument, one.ref, no, now_ns) for one in gone]
    state.told = dict.fromkeys(one.ref for one in gone)


def _refusal(
    wiring: TraderWiring, instrument: InstrumentId | None, ref: str, no: Refused, now_ns: int
) -> Refusal:
    return Refusal(
        account=wiring.account,
        instrument=instrument,
        owner=wiring.owner,
        ref=ref,
        code=no.code,
        text=no.text,
        limit=None,
        used=None,
        would_pass=None,
        at_ns=now_ns,
    )

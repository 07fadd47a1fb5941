"""Asks the store for the bars that market data wants in front of its own, one question at a time."""

from __future__ import annotations

from msgspec import Struct, field

from tradefan.messages.control import StoreBatch
from tradefan.messages.market import AskStored, StoredBars
from tradefan.runtime.actor import Context
from tradefan.units import Ref

QUESTION = -(1 << 40)
"""The batch id of every question: an answer names what was asked."""


class Questions(Struct):
    """What is still to be asked, and what an answer is awaited to."""

    waiting: list[AskStored] = field(default_factory=list)
    asked: AskStored | None = None


def want(questions: Questions, ask: AskStored) -> None:
    """Note a question; it takes the place of one that waits and is the same but for the instant."""
    if ask != questions.asked:
        about = (ask.instrument, ask.timeframe, ask.count)
        others = [one for one in questions.waiting if (one.instrument, one.timeframe, one.count) != about]
        questions.waiting = [*others, ask]


def ask_next(questions: Questions, store: Ref, ctx: Context) -> None:
    """Ask, unless an answer is awaited; without room it is asked with the next occasion."""
    if questions.asked is not None or not questions.waiting:
        return
    if ctx.send(store, StoreBatch(QUESTION, (), None, None, None, questions.waiting[0])):
        questions.asked = questions.waiting.pop(0)


def take(questions: Questions, told: StoredBars, markets: dict[str, Ref], ctx: Context) -> None:
    """Tell the venue's market data what was found; an answer that is not awaited is passed over."""
    if told.ask == questions.asked:
        questions.asked = None
        ctx.send(markets[told.ask.instrument.partition(":")[0]], told)


def lost(questions: Questions) -> None:
    """Ask again what a link that ended took with it."""
    if questions.asked is not None:
        questions.waiting.insert(0, questions.asked)
        questions.asked = None

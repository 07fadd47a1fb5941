"""One actor on its own: gives it turns, keeps what it sent, and lets its timers come due."""

from __future__ import annotations

from typing import Any

import msgspec

from tradefan.config.schema import Config
from tradefan.messages.base import Message
from tradefan.runtime.actor import Actor
from tradefan.units import Ref


class Turns:
    """A `Context` that collects; `room` is the credit of refs that have one."""

    def __init__(self, config: Config | None = None, now_ns: int = 0) -> None:
        self.now_ns = now_ns
        self.config: Any = config or Config()
        self.config_id = "test"
        self.sent: list[tuple[Ref, Message]] = []
        self.logs: list[tuple[str, str, dict[str, Any]]] = []
        self.timers: list[tuple[int, int, Message]] = []
        self.room: dict[Ref, int] = {}
        self.ids = 0

    def send(self, ref: Ref, msg: Message) -> bool:
        if ref in self.room:
            if self.room[ref] == 0:
                return False
            self.room[ref] -= 1
        self.sent.append((ref, msg))
        return True

    def after(self, delay_ns: int, msg: Message) -> int:
        number = self.next_id()
        self.timers.append((self.now_ns + delay_ns, number, msg))
        return number

    def cancel(self, timer_id: int) -> None:
        self.timers = [timer for timer in self.timers if timer[1] != timer_id]

    def next_id(self) -> int:
        self.ids += 1
        return self.ids

    def series_id(self) -> int:
        return self.next_id()

    def random(self) -> float:
        return 0.5

    def log(self, level: str, event: str, **fields: Any) -> None:
        self.logs.append((level, event, fields))

    # --- what a test does ---------------------------------------------------------------------------

    def give(self, actor: Actor, *messages: Message) -> list[tuple[Ref, Message]]:
        """Give messages and return what was sent because of them."""
        before = len(self.sent)
        for message in messages:
            actor.handle(message, self)
        return self.sent[before:]

    def until(self, actor: Actor, at_ns: int) -> list[tuple[Ref, Message]]:
        """Let time pass up to an instant, timers in order, and return what was sent."""
        before = len(self.sent)
        while due := sorted(timer for timer in self.timers if timer[0] <= at_ns):
            first = due[0]
            self.timers.remove(first)
            self.now_ns = max(self.now_ns, first[0])
            actor.handle(first[2], self)
        self.now_ns = max(self.now_ns, at_ns)
        return self.sent[before:]

    def forget(self) -> None:
        """Forget what was sent and logged."""
        self.sent.clear()
        self.logs.clear()


def copied(state: msgspec.Struct) -> Any:
    """Return a state as a snapshot would bring it back."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=type(state))

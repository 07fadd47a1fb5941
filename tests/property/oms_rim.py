"""The rim of the OMS's state machine: latch, kill byte, and what leaves through them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.unit.actors.oms_bench import Bench
from tests.unit.actors.oms_wired import GATEWAY
from tradefan.core.outbox import create_of
from tradefan.core.scopes import scopes
from tradefan.messages.base import Message
from tradefan.messages.control import CloseLatch, KillAnswer, KillByte, KillByteSet, OpenLatch
from tradefan.messages.gateway import CancelOrder, CreateOrder, Look, ReplaceOrder
from tradefan.messages.records import Intent, Kill, Resume
from tradefan.units import ClientOrderId


class Rim:
    """The latch object and the byte on the disk; everything that leaves is held against them."""

    def __init__(self) -> None:
        """Begin open."""
        self.closed: dict[str, int] = {}
        """Scopes that are shut, and how many records there were then."""
        self.byte = 0
        self.by_start = False
        """Whether a start has shut everything because of the byte, and nobody has said what it means yet."""
        self.bytes: list[KillByte] = []
        self.acknowledged: dict[str, None] = {}
        """Scopes whose kill was acknowledged as persisted (I-10)."""
        self.created: dict[ClientOrderId, None] = {}

    def take(self, bench: Bench) -> Iterator[CreateOrder | ReplaceOrder | CancelOrder]:
        """Give what reaches the venue, in order; looks stay with the bench."""
        sent, bench.sent = bench.sent, []
        bench.sent = [item for item in sent if isinstance(item[1], Look)]
        for ref, msg in sent:
            self._rim(msg, bench)
            if isinstance(msg, CreateOrder | ReplaceOrder):
                if self._passes(msg, bench):
                    yield msg
            elif isinstance(msg, CancelOrder) and ref == GATEWAY:
                yield msg

    def _rim(self, msg: Message, bench: Bench) -> None:
        if isinstance(msg, CloseLatch):
            self.by_start = self.by_start and msg.scope != "all"
            self.closed[msg.scope] = bench.trading.lsn
        elif isinstance(msg, OpenLatch):
            self._open(msg, bench)
        elif isinstance(msg, KillByte):
            self.bytes.append(msg)
        elif isinstance(msg, KillAnswer):
            self._answered(msg, bench)

    def put_byte(self, bench: Bench, error: str | None) -> None:
        """Let the disk take the oldest kill byte that waits, or fail to."""
        if self.bytes:
            asked = self.bytes.pop(0)
            self.byte = self.byte if error else asked.value
            bench.tell(KillByteSet(asked.serial, asked.value, error))
            opened = [msg.scope for _, msg in bench.sent if isinstance(msg, OpenLatch)]
            assert "all" not in opened or self.byte != 2

    def crash(self) -> None:
        """Forget what a process forgets; the next one begins shut where the byte is set."""
        self.bytes = []
        self.by_start = self.byte != 0
        self.closed = {"all": 0} if self.by_start else {}

    def after_boot(self, bench: Bench) -> None:
        """I-10: what was acknowledged as persisted is shut after any crash, unless a human resumed."""
        for scope in self.acknowledged:
            if not _resumed(bench, scope):
                assert scope in self.closed or "all" in self.closed
        for kill in bench.trading.kills.values():
            assert kill.scope in self.closed

    # --- what must hold -----------------------------------------------------------------------------

    def _passes(self, msg: CreateOrder | ReplaceOrder, bench: Bench) -> bool:
        """I-01, I-04, I-09: once, behind its durable INTENT, and never while a kill holds its scope."""
        create = create_of(msg)
        assert create is not None
        assert create.client_order_id not in self.created
        self.created[create.client_order_id] = None
        durable = bench.records[: bench.oms.state.live.outbox.durable]
        lsns = [
            lsn
            for lsn, one in enumerate(durable, 1)
            if isinstance(one, Intent) and one.client_order_id == create.client_order_id
        ]
        assert len(lsns) == 1
        shut = [
            scope for scope in scopes(create.account, create.instrument, create.owner) if scope in self.closed
        ]
        for scope in shut:
            between = durable[: lsns[0] - 1]
            newest = [one for one in between if isinstance(one, Kill | Resume) and one.scope == scope]
            # Decided behind a RESUME whose latch is not open yet: the rim refuses it.
            assert newest
            assert isinstance(newest[-1], Resume)
        return not shut

    def _open(self, msg: OpenLatch, bench: Bench) -> None:
        """Only behind a durable RESUME, or where a start has shut more than the journal names."""
        assert msg.scope not in bench.trading.kills
        if msg.scope == "all" and self.by_start:
            assert bench.trading.kills
            self.by_start = False
        else:
            assert _resumed(bench, msg.scope)
        self.closed.pop(msg.scope, None)
        self.acknowledged.pop(msg.scope, None)

    def _answered(self, msg: KillAnswer, bench: Bench) -> None:
        """Closed whatever happens; persisted only where byte or journal hold it."""
        assert msg.closed
        assert msg.scope in self.closed
        if msg.persisted:
            durable = bench.records[: bench.oms.state.live.outbox.durable]
            on_record = any(isinstance(one, Kill) and one.scope == msg.scope for one in durable)
            assert on_record or self.byte >= (2 if msg.scope == "all" else 1)
            self.acknowledged[msg.scope] = None


def _resumed(bench: Bench, scope: str) -> bool:
    """Say whether the newest durable word about a scope is RESUME."""
    durable = bench.records[: bench.oms.state.live.outbox.durable]
    words = [one for one in durable if isinstance(one, Kill | Resume) and one.scope == scope]
    return bool(words) and isinstance(words[-1], Resume)

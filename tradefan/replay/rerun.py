"""The recorded market and the recorded operator once more, against a kernel that may decide otherwise.

The market is what it was, the paper venue is real and in memory, the journal remembers. Where market data
numbers a connection or a request it gets the number that it had then, so that recorded answers fit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from tradefan.actors.gateway_state import CONN
from tradefan.config.check import validate_swap
from tradefan.config.schema import AccountConfig, Config
from tradefan.core.book import Book
from tradefan.core.connection_state import Phase
from tradefan.drivers.machines import TimedMachine
from tradefan.drivers.virtual import VirtualDriver
from tradefan.errors import Refused
from tradefan.messages.base import Message
from tradefan.messages.control import (
    ChainBroken,
    Durable,
    History,
    JournalFailed,
    JournalWorks,
    KillByteSet,
    LogLine,
    Rows,
    StopAll,
    SwapConfig,
)
from tradefan.messages.market import BookSnapshot
from tradefan.messages.orders import (
    AmendOrder,
    Asked,
    Audited,
    CancelParent,
    PauseOrder,
    ResumeOrder,
)
from tradefan.messages.records import Parent
from tradefan.messages.wire import Closed, LinkDown, Open, Write
from tradefan.replay.beginning import Beginning
from tradefan.replay.bounds import records_of
from tradefan.replay.memory_journal import MemoryJournal
from tradefan.replay.player import Played
from tradefan.runtime.context import TurnContext
from tradefan.runtime.kernel import Kernel
from tradefan.runtime.system import RIM, Ingress
from tradefan.stores.segments import Segment
from tradefan.stores.sqlite import StoreFile
from tradefan.stores.store_link import StoreMachine
from tradefan.units import AccountId, InstrumentId, ParentId, Ref
from tradefan.venues.paper import PaperVenue
from tradefan.venues.paper_state import MemoryStore, PaperConfig, PaperSaved
from tradefan.wiring import account_port, encode_config, gateway_name, market_name, market_port, plan

_BPS = 10_000
_JOURNAL = (Durable, Rows, KillByteSet, History, JournalFailed, JournalWorks, ChainBroken)
OTHER_IDS = 1 << 40
"""What is not numbered by the recording is numbered from here on, so that nothing has a number twice."""

Change = Callable[[Config], Config]


class Sink:
    """A port that gives nothing: the API's, and a market's, whose answers are in the recording."""

    def apply(self, now_ns: int, effect: Message) -> None:
        """Let it go."""

    def next_ns(self) -> int | None:
        """Give nothing."""
        return None

    def take(self, now_ns: int, limit: int) -> list[Message]:
        """Give nothing."""
        return []


class _Numbered(TurnContext):
    """A context in which some actors draw the numbers that somebody else gives them."""

    __slots__ = ("_number",)

    def __init__(self, kernel: Kernel, number: Callable[[Ref], int | None]) -> None:
        super().__init__(kernel)
        self._number = number

    def next_id(self) -> int:
        number = self._number(self.cell.ref)
        return super().next_id() if number is None else number


class Rerun:
    """One kernel on the recorded market, from the beginning of a segment on."""

    def __init__(self, segment: Segment, change: Change, *, changes: bool) -> None:
        """Wire it; `change` is applied to every configuration that was in force.

        Raises:
            Refused: NOT_LIVE for a key that only a start can change, where this is none.
        """
        beginning = Beginning(segment)
        head, begun = segment.head, beginning.saved.kernel.begun
        self.change = change
        config = beginning.config
        wired = config if begun else change(config)
        self.plan = plan(wired, beginning.instruments)
        system = beginning.wire(wired)
        self.logs: list[LogLine] = []
        self.journal = MemoryJournal(None)
        self.unasked = 0
        """Numbers that market data drew here and not then: nobody answers what it asked by them."""
        self._numbers: dict[str, deque[int]] = {market_port(venue): deque() for venue in self.plan.venues}
        self.papers = {
            name: self._paper(
                name,
                wired.accounts[name],
                config.accounts.get(name, wired.accounts[name]),
                head.accounts,
            )
            for name in self.plan.accounts
        }
        self._theirs: dict[ParentId, tuple[str, str]] = {}
        self._ours: dict[tuple[str, str], ParentId] = {}
        self._learned = 0
        self.ended_at = 0
        """The recorded step at which this kernel had ended, 0 while it has not."""
        # One that had not begun is made anew, with what may be other actors.
        self.kernel = kernel = beginning.restore(system) if begun else beginning.begin_anew(system, wired)
        kernel.state.ids += OTHER_IDS
        kernel.context = _Numbered(kernel, self._number)
        self.driver = VirtualDriver(
            kernel, self._machines(), on_log=lambda _now, line: self.logs.append(line)
        )
        self._markets = {kernel.refs[market_name(venue)]: market_port(venue) for venue in self.plan.venues}
        if begun:
            self._go_on(changes=changes)

    # --- the beginning --------------------------------------------------------------------------------

    def _go_on(self, *, changes: bool) -> None:
        """Begin in the middle: other limits are swapped in, connections stay, books are told.

        What was under way to the paper venue is lost, and in doubt as with any venue.
        """
        kernel, driver = self.kernel, self.driver
        trading = self._state("oms").trading
        self.journal.base = Rows(
            0, (), trading.lsn, snapshot=msgspec.msgpack.encode(trading), snapshot_lsn=trading.lsn
        )
        if changes:
            config = self.change(kernel.config)
            wrong = validate_swap(kernel.config, config)
            if wrong:
                text = "; ".join(wrong)
                raise Refused("NOT_LIVE", f"--set: from the middle of a run only live keys: {text}")
            driver.inject(RIM, SwapConfig(f"{kernel.state.config_id}+", encode_config(config)))
        for name, paper in self.papers.items():
            connection = self._state(gateway_name(name)).connection
            if connection.phase is Phase.LIVE:
                paper.adopt(CONN, connection.gen)
            elif connection.gen:
                closed = Closed(CONN, connection.gen, driver.now_ns, None, "the rerun begins")
                driver.inject(kernel.refs[gateway_name(name)], closed)
            for venue in self.plan.venues:
                for id_, feed in self._state(market_name(venue)).feeds.items():
                    if feed.book.synced:
                        paper.apply(driver.now_ns, _snapshot_of(id_, feed.book, driver.now_ns))

    def _state(self, name: str) -> Any:  # noqa: ANN401 each actor's own
        cell = self.kernel.cells[self.kernel.refs[name]]
        assert cell is not None
        if cell.actor is None:
            raise Refused("NO_RERUN", f"{name} was down when this segment began: begin with another one")
        return cell.actor.state

    def _machines(self) -> dict[str, TimedMachine]:
        machines: dict[str, TimedMachine] = {
            "journal": self.journal,
            "store": StoreMachine(StoreFile(":memory:")),
            "api": Sink(),
        }
        machines |= {market_port(venue): Sink() for venue in self.plan.venues}
        machines |= {account_port(name): paper for name, paper in self.papers.items()}
        return machines

    def _paper(
        self, name: AccountId, one: AccountConfig, recorded: AccountConfig, known: dict[str, bytes]
    ) -> PaperVenue:
        saved = msgspec.msgpack.decode(known[name], type=PaperSaved) if name in known else None
        other = one.balances != recorded.balances
        if saved is not None and other and saved.state.next_order_id > 1:
            text = "only in a recording that begins before the account's first order"
            raise Refused("NOT_LIVE", f"--set: accounts.{name}.balances: {text}")
        store = MemoryStore(dict(one.balances)) if saved is None or other else MemoryStore.of(saved)
        config = PaperConfig(one.maker_fee_bps / _BPS, one.taker_fee_bps / _BPS, one.latency)
        return PaperVenue(tuple(self.plan.instruments.values()), store, config, self._latched)

    def _latched(self, scopes: tuple[str, ...]) -> bool:
        return self.driver.hosted.latch.is_closed(scopes)

    # --- following the recording ----------------------------------------------------------------------

    def follow(self, played: Played, names: Mapping[Ref, str]) -> None:
        """Go on to a recorded step; `names` are those of the recorded kernel, which may have other refs."""
        driver = self.driver
        if driver.exit is not None:
            return
        for ref, effect in played.effects:
            numbers = self._numbers.get(names.get(ref, ""))
            if numbers is not None and isinstance(effect, Open | Write):
                numbers.append(effect.gen if isinstance(effect, Open) else effect.req)
        driver.run_until(played.now_ns)
        for ref, msg in played.ingress:
            ours = self._ours_of(names.get(ref, ""), msg)
            if ours is not None:
                driver.inject(*ours)
        driver.settle()
        self._learn(played)
        if self.driver.exit is not None:
            self.ended_at = played.number

    def _number(self, ref: Ref) -> int | None:
        """Return the number that market data drew then, for what it asks now; None for all others."""
        numbers = self._numbers.get(self._markets.get(ref, ""))
        if not numbers:
            self.unasked += numbers is not None
            return None
        return numbers.popleft()

    def _ours_of(self, name: str, msg: Message) -> Ingress | None:
        """Return recorded ingress for this kernel; None for what this kernel's own ports answer."""
        if not name:
            return self._to_kernel(msg)
        ref = self.kernel.refs.get(name)
        if ref is None:
            return None
        if ref in self._markets:
            return ref, msg
        if isinstance(msg, Rows) and self.journal.base is None:
            self.journal.base = msg
        if name != "oms" or isinstance(msg, _JOURNAL):
            return None
        return ref, self._in_our_ids(msg)

    def _to_kernel(self, msg: Message) -> Ingress | None:
        if isinstance(msg, SwapConfig):
            config = self.change(msgspec.msgpack.decode(msg.payload, type=Config))
            for paper in self.papers.values():
                paper.know(msg.instruments)
            return RIM, replace(msg, payload=encode_config(config))
        if isinstance(msg, LinkDown):
            port = self.kernel.ports.get(self.kernel.refs.get(msg.link, RIM))
            if port is None or msg.link not in map(market_port, self.plan.venues):
                return None
            return RIM, replace(msg, generation=port.generation)
        return (RIM, msg) if isinstance(msg, StopAll) else None

    def _in_our_ids(self, msg: Message) -> Message:
        """Return what an operator asks of a parent for the one that has its wish's place here."""
        if isinstance(msg, Asked):
            wish = self._in_our_ids(msg.wish)
            assert isinstance(wish, Audited)
            return replace(msg, wish=wish)
        if isinstance(msg, CancelParent | PauseOrder | ResumeOrder | AmendOrder):
            place = self._theirs.get(msg.parent_id)
            return msg if place is None else replace(msg, parent_id=self._ours.get(place, msg.parent_id))
        return msg

    def _learn(self, played: Played) -> None:
        """Note which parent here is which one there: the wishes have the same owner and ref."""
        for _, record in records_of(played):
            if isinstance(record, Parent):
                self._theirs[record.order.parent_id] = (record.order.owner, record.order.ref)
        for ours in self.journal.records[self._learned :]:
            if isinstance(ours, Parent):
                self._ours[ours.order.owner, ours.order.ref] = ours.order.parent_id
        self._learned = len(self.journal.records)


def _snapshot_of(instrument: InstrumentId, book: Book, now_ns: int) -> BookSnapshot:
    """Return a book as a venue would tell it, best levels first."""
    bids = tuple(zip(reversed(book.bid_keys), reversed(book.bid_qtys), strict=True))
    asks = tuple(
        (-key, qty) for key, qty in zip(reversed(book.ask_keys), reversed(book.ask_qtys), strict=True)
    )
    return BookSnapshot(instrument, book.last_id, bids, asks, now_ns)

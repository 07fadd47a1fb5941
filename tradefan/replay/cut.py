"""`tradefan data cut`: the raw frames of a recording as files that the tape plays, and tests read.

A file begins with the book as it was, then come the frames byte for byte. Where the recorded connection
broke, one frame is made that leads from the book before to the book behind: it alone was never received.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from tradefan.actors.market_state import MarketState
from tradefan.core.book import Book
from tradefan.core.connection import SEAM
from tradefan.errors import Outage, Refused
from tradefan.messages.wire import Closed, Received
from tradefan.replay.bounds import Bound
from tradefan.replay.check import Asked, Runs
from tradefan.replay.player import Played, Player
from tradefan.stores.disk import Trouble
from tradefan.units import SECOND, InstrumentId, Ref
from tradefan.venues.tape_book import Sides, TapeBook
from tradefan.wiring import market_name

_STREAM = b'{"stream":"'


class Cut(Struct):
    """What was written of one instrument."""

    path: str
    frames: int = 0
    bridged: int = 0
    first_ns: int = 0
    last_ns: int = 0
    note: str = ""


class _Lines:
    """The file of one instrument as it grows; `book` is what its frames come to, None before the first."""

    def __init__(self, symbol: str, folder: Path) -> None:
        self._symbol = symbol
        self._folder = folder
        self._file: gzip.GzipFile | None = None
        self.cut = Cut("")
        self.book: TapeBook | None = None
        self.ended = False
        self.gen = 0

    def add(self, at_ns: int, raw: bytes) -> None:
        """Write a line at once: a day of frames is more than memory has room for.

        Raises:
            Refused: BAD_FOLDER where its file is there already.
            Outage: the folder cannot be written.
        """
        try:
            if self._file is None:
                self._file = self._open(at_ns)
            self._file.write(b"%d %s\n" % (at_ns, raw.replace(b"\n", b" ")))
        except FileExistsError as error:
            raise Refused("BAD_FOLDER", f"--out: expected a folder without {error.filename}") from error
        except OSError as error:
            raise Outage(f"{error.filename or self._folder}: {error.strerror}") from error
        self.cut.last_ns = at_ns

    def _open(self, at_ns: int) -> gzip.GzipFile:
        self._folder.mkdir(parents=True, exist_ok=True)
        day = datetime.fromtimestamp(at_ns // SECOND, UTC)
        path = self._folder / f"spot_{self._symbol.lower()}_{day:%Y%m%d}.gz"
        file = gzip.GzipFile(path, "xb", mtime=0)
        self.cut.path, self.cut.first_ns = str(path), at_ns
        return file

    def close(self, *, kept: bool) -> None:
        """Close the file; one that is not kept goes."""
        if self._file is None:
            return
        if kept:
            with Trouble(self.cut.path):
                self._file.close()
            return
        with suppress(OSError):
            self._file.close()
        Path(self.cut.path).unlink(missing_ok=True)


class Cutter:
    """Listens to a replay for the frames of some instruments, and writes `spot_<symbol>_<day>.gz` of each.

    Nothing stays of what does not come to its end.
    """

    def __init__(self, instruments: dict[InstrumentId, str], folder: Path) -> None:
        """Take them with the venue's spelling of their symbols."""
        self._files = {id_: _Lines(symbol, folder) for id_, symbol in instruments.items()}
        self._streams = {symbol.lower().encode(): id_ for id_, symbol in instruments.items()}

    def see(self, player: Player, played: Played) -> None:
        """Take a step: the frames that came in, with the books as they are behind it."""
        for ref, msg in played.ingress:
            if isinstance(msg, Closed) and msg.reason == SEAM:
                self._end(msg.at_ns)
            elif isinstance(msg, Received) and msg.req is None:
                id_ = self._instrument(msg.body)
                if id_ is not None and player.names[ref] == market_name(id_.partition(":")[0]):
                    self._take(player, ref, self._files[id_], id_, msg)

    def _instrument(self, body: bytes) -> InstrumentId | None:
        if not body.startswith(_STREAM):
            return None
        return self._streams.get(body[len(_STREAM) :].partition(b"@")[0])

    def _take(self, player: Player, ref: Ref, lines: _Lines, id_: InstrumentId, msg: Received) -> None:
        cell = player.kernel.cells[ref]
        state = None if cell is None or cell.actor is None else cell.actor.state
        # What a connection still says that serves no more is not heard.
        if lines.ended or not isinstance(state, MarketState) or state.connection.gen != msg.gen:
            return
        # A tape's times and ids were moved: the file has them as they are in the frames.
        book, at_ns = state.feeds[id_].book, msg.recv_ns - state.shift_ns
        if lines.gen != msg.gen and at_ns <= lines.cut.last_ns:
            # A connection that begins anew tells once more what another one has told.
            return
        if book.synced:
            lines.gen = msg.gen
            self._frame(lines, book, state.shift_id, at_ns, msg.body)

    def _frame(self, lines: _Lines, book: Book, shift_id: int, at_ns: int, raw: bytes) -> None:
        """Add a frame; where frames are missing before it, one of our own leads to the book behind it."""
        if lines.book is None:
            # The frame is in the book already: what the file begins with stands for it.
            bids, asks = _levels(book)
            start = {"lastUpdateId": book.last_id - shift_id, "bids": bids, "asks": asks}
            body = msgspec.json.encode(start)
            lines.add(at_ns, body)
            lines.book = TapeBook(body)
            return
        lines.cut.frames += 1
        if b"@depth" in raw[:60]:
            try:
                lines.book.fold(raw)
            except Outage:
                raw = _bridge(raw, lines.book, book, shift_id)
                lines.cut.bridged += 1
        lines.add(at_ns, raw)

    def _end(self, at_ns: int) -> None:
        for lines in self._files.values():
            if lines.book is not None and not lines.ended:
                lines.ended = True
                when = datetime.fromtimestamp(at_ns // SECOND, UTC)
                lines.cut.note = f"what was recorded is a tape that begins anew at {when:%H:%M:%S}: cut there"

    def close(self, *, whole: bool) -> dict[InstrumentId, Cut]:
        """Close the files, and return those that have frames; others go, and all where it is not the whole.

        Raises:
            Outage: what was still to be written cannot be.
        """
        kept = {id_: lines.cut for id_, lines in self._files.items() if whole and lines.cut.frames}
        for id_, lines in self._files.items():
            lines.close(kept=id_ in kept)
        return kept


def cut(
    asked: Asked,
    symbols: Iterable[str],
    folder: Path,
    tell: Callable[[str], None] = lambda _text: None,
) -> dict[InstrumentId, Cut]:
    """Cut the frames of some symbols, or of all, out of a recording; `tell` hears of another program.

    Raises:
        Refused: UNKNOWN_INSTRUMENT, NOTHING_TO_CUT, BAD_FOLDER.
    """
    runs = Runs(asked, tell, orders=False)
    segments = runs.runs[-1]
    known = {one.id: one.symbol.replace("/", "") for one in segments[0].head.instruments}
    wanted: dict[InstrumentId, str] = {}
    for word in symbols:
        found = [id_ for id_ in known if word in (id_, id_.partition(":")[2])]
        if not found:
            raise Refused("UNKNOWN_INSTRUMENT", f"--symbol: expected one of {', '.join(known)}, got {word!r}")
        wanted |= {id_: known[id_] for id_ in found}
    cutter, made = Cutter(wanted or known, folder), None
    try:
        for played in (player := Player(segments, checks=False)).play():
            if runs.begin == Bound() or runs.begin.reached(played.number, played.now_ns):
                cutter.see(player, played)
            if runs.end.reached(played.number, played.now_ns):
                break
        made = cutter.close(whole=True)
    finally:
        if made is None:
            cutter.close(whole=False)
    if not made:
        names = ", ".join(wanted or known)
        raise Refused("NOTHING_TO_CUT", f"expected frames of {names}, found none with a book")
    return made


def _levels(book: Book) -> tuple[Sides, Sides]:
    """Return the levels of a book as a venue writes them, best first."""
    bids = [(f"{key:.8f}", f"{qty:.8f}") for key, qty in zip(book.bid_keys, book.bid_qtys, strict=True)]
    asks = [(f"{-key:.8f}", f"{qty:.8f}") for key, qty in zip(book.ask_keys, book.ask_qtys, strict=True)]
    return bids[::-1], asks[::-1]


def _bridge(raw: bytes, before: TapeBook, after: Book, shift_id: int) -> bytes:
    """Return the depth frame, made of one behind a hole, that makes one book of another."""
    frame = msgspec.json.decode(raw)
    data = frame["data"]
    data["U"], data["u"] = before.last_id + 1, after.last_id - shift_id
    data["b"], data["a"] = before.lead_to(after.last_id - shift_id, *_levels(after))
    return msgspec.json.encode(frame)

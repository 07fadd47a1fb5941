"""The recorded market of an environment: which files the tape plays, and where on it a run is."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from importlib import resources
from itertools import pairwise
from pathlib import Path

from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.flight import program_hash
from tradefan.links.tape import load_origin, open_recordings
from tradefan.replay.check import Asked
from tradefan.replay.cut import cut
from tradefan.stores.segments import ENDING, segments_in
from tradefan.units import InstrumentId
from tradefan.venues.tape import Recording, Tape

FOLDER = "tape"
"""Below the data directory: what was cut out of flight recordings to be played."""


def make_tape(environment: Environment, venue: str, symbols: Mapping[InstrumentId, str], now_ns: int) -> Tape:
    """Return the machine that plays a venue's market; `symbols` are those of its feeds in its spelling.

    Raises:
        Refused: NO_RECORDING for a symbol without frames, BAD_TAPE where recordings are of different times.
    """
    config, places = environment.loaded.config, environment.places
    tape = config.venues[venue].tape
    own = {id_: config.feeds[id_].tape for id_ in symbols if config.feeds[id_].tape}
    # All of a venue's: the length of a lap numbers the ids, and must not change with the feeds.
    recordings = (
        {} if len(own) == len(symbols) else open_recordings(recordings_dir(tape.recordings, environment.base))
    )
    for id_, text in own.items():
        symbol = symbols[id_]
        try:
            found = open_recordings(_frames_of(environment, id_, recordings_dir(text, environment.base)))
        except Refused as no:
            # Of a recording it may be a strategy that is not here, or a damaged chunk.
            raise Refused(no.code, f"feeds.{id_}.tape: {no.text}") from no
        if symbol not in found:
            raise Refused(
                "NO_RECORDING", f"feeds.{id_}.tape: expected frames of {symbol}, got {sorted(found)}"
            )
        recordings[symbol] = found[symbol]
    missing = sorted(set(symbols.values()) - set(recordings))
    if missing:
        raise Refused(
            "NO_RECORDING", f"venue {venue}: expected recordings of {missing}, got {sorted(recordings)}"
        )
    _require_one_time(recordings)
    return Tape(
        recordings,
        origin_ns=load_origin(places.tape, now_ns, tape.speed),
        exchange_info=packaged_exchange_info(),
        history_ns=tape.history,
        speed=tape.speed,
    )


def recordings_dir(name: str, base: Path) -> Path:
    """Return the directory of a recording: one that comes with TradeFan, or the user's own."""
    packaged = Path(str(resources.files("tradefan").joinpath("recordings"))) / name
    if packaged.is_dir():
        return packaged
    own = Path(name).expanduser()
    return own if own.is_absolute() else base / own


def packaged_exchange_info() -> bytes:
    """Return the exchangeInfo that comes with the recordings."""
    return resources.files("tradefan").joinpath("recordings", "instruments.json").read_bytes()


def _frames_of(environment: Environment, id_: InstrumentId, path: Path) -> Path:
    """Return a directory of frames; out of a flight recording they are cut, once."""
    segments = [path] if path.suffix == ENDING and path.is_file() else segments_in(path)
    if not segments:
        return path
    names = " ".join(f"{one.absolute()} {one.stat().st_size}" for one in segments)
    key = blake2b(f"{id_} {names}".encode(), digest_size=6).hexdigest()
    folder = environment.places.root / FOLDER / key
    if not folder.is_dir():
        part = folder.with_name(f"{key}.new")
        for old in part.glob("*"):
            old.unlink()
        cut(Asked(path, program_hash(), environment.code), (id_,), part)
        part.rename(folder)
    return folder


def _require_one_time(recordings: Mapping[str, Recording]) -> None:
    """Refuse recordings that do not overlap: a lap would last as long as what lies between them."""
    in_order = sorted(recordings.items(), key=lambda item: item[1].first_ns)
    for (before, one), (behind, other) in pairwise(in_order):
        if other.first_ns > one.last_ns:
            text = f"expected recordings of one time, got {behind} from after the end of {before}"
            raise Refused("BAD_TAPE", f"feeds.*.tape: {text}")

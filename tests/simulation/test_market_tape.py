"""`feeds.*.tape`: an instrument's own frames, a directory of them or a flight recording that is cut once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.recorded import Recorded, record
from tests.simulation.world import ROOT, World
from tradefan.environment import Environment
from tradefan.errors import Refused
from tradefan.market_tape import FOLDER, make_tape
from tradefan.units import SECOND, InstrumentId
from tradefan.venues.tape import Tape

BTC, ETH = InstrumentId("binance:BTC/USDT"), InstrumentId("binance:ETH/USDT")
SYMBOLS = {BTC: "BTCUSDT", ETH: "ETHUSDT"}
NOW_NS = 1_800_000_000 * SECOND


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    def play(world: World) -> None:
        world.run(65)

    return record(tmp_path_factory.mktemp("recorded"), play, history_ns=SECOND)


def tape(folder: Path, **tapes: Path) -> Tape:
    names = {"btc": BTC, "eth": ETH}
    sets = (f"feeds.{names[name]}.tape={path}" for name, path in tapes.items())
    environment = Environment.load("development", ROOT / "config", (f"data_dir={folder}", *sets))
    environment.places.root.mkdir(exist_ok=True)
    return make_tape(environment, "binance", SYMBOLS, NOW_NS)


def test_tape_when_a_recording_is_named_then_cut_once_and_kept(run: Recorded, tmp_path: Path) -> None:
    """What was cut is taken at the next start; what a start that died has left half done is not."""
    recording = run.folder / "logs" / "recorder"
    tape(tmp_path, btc=recording, eth=recording)
    cut = sorted((tmp_path / FOLDER).rglob("*.gz"))
    assert [path.name.split("_")[1] for path in cut] in (["btcusdt", "ethusdt"], ["ethusdt", "btcusdt"])
    before = {path: path.stat().st_mtime_ns for path in cut}
    tape(tmp_path, btc=recording, eth=recording)
    assert {path: path.stat().st_mtime_ns for path in sorted((tmp_path / FOLDER).rglob("*.gz"))} == before
    whole, part = cut[0].parent, cut[0].parent.with_name(f"{cut[0].parent.name}.new")
    whole.rename(part)
    (part / cut[0].name).write_bytes(b"half")
    tape(tmp_path, btc=recording, eth=recording)
    assert cut[0].stat().st_size > 1_000
    assert not part.exists()


def test_tape_when_recordings_are_of_different_times_then_refused(run: Recorded, tmp_path: Path) -> None:
    """A lap would last as long as what lies between them."""
    with pytest.raises(Refused, match=r"BAD_TAPE: feeds.\*.tape: expected recordings of one time, got"):
        tape(tmp_path, btc=run.segments[0], eth=run.segments[-1])


def test_tape_when_it_has_no_frames_of_that_instrument_then_the_key_is_named(
    run: Recorded, tmp_path: Path
) -> None:
    """Nothing at all, something damaged, frames of another symbol."""
    tape(tmp_path, btc=run.segments[1], eth=run.segments[1])
    eth = next((tmp_path / FOLDER).rglob("*ethusdt*")).parent
    damaged = tmp_path / run.segments[1].name
    damaged.write_bytes(run.segments[1].read_bytes()[:-100] + bytes(100))
    wrong = {damaged: "RECORDING_DAMAGED", eth: "NO_RECORDING"}
    wrong |= dict.fromkeys((tmp_path / "nowhere", tmp_path / "nowhere.tfr"), "NO_RECORDING")
    for path, code in wrong.items():
        with pytest.raises(Refused, match=f"^{code}: feeds.{BTC}.tape: "):
            tape(tmp_path, btc=path)

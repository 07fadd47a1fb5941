"""Invariants of stage 1 over the whole wired system, in virtual time (RELIABILITY 2c)."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from tests.simulation.world import ROOT, World, development, recordings
from tradefan.config.loader import Layer, Loaded, load_texts
from tradefan.config.mistakes import ConfigInvalid
from tradefan.config.schema import Config
from tradefan.contracts import lookup, names
from tradefan.messages.control import SwapConfig
from tradefan.runtime.actor import Actor
from tradefan.runtime.system import RIM, Cell
from tradefan.units import MS, SECOND
from tradefan.wiring import encode_config

ENVIRONMENTS = ("development", "production", "staging", "testing")


class Witness:
    """Sees (step, config id, configuration) at every handler of every actor of a world."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand beside every actor that takes its place from now on."""
        self.seen: list[tuple[int, str, Config]] = []
        self.world: World
        place, seen = Cell.place, self.seen

        def watched(cell: Cell, actor: Actor | None) -> None:
            place(cell, actor)
            inner = cell.handle
            if inner is None:
                return

            def handle(msg: Any, ctx: Any) -> None:
                seen.append((self.world.kernel.state.steps, ctx.config_id, ctx.config))
                inner(msg, ctx)

            cell.handle = handle

        monkeypatch.setattr(Cell, "place", watched)


def good_payload(random: Random) -> bytes:
    """Return a configuration that may be swapped in: limits at random."""
    return encode_config(
        development(
            f"risk.max_order_qty={random.randint(1, 9)}", f"risk.orders_per_second={random.randint(5, 50)}"
        )
    )


def bad_payload(random: Random) -> bytes:
    """Return one that must be refused: a key that needs a restart, a cut or damaged text, another type."""
    whole = good_payload(random)
    return random.choice(
        [
            encode_config(development(f"api.port={random.randint(9_000, 9_999)}")),
            whole[: random.randrange(len(whole))],
            b"",
            b"\xc1" + whole,
            msgspec.msgpack.encode(["no", "configuration"]),
        ]
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_config_when_swapped_at_random_then_one_id_a_step_and_a_refused_one_changes_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-25: at every handler of the whole system, with swaps, good and bad, at random instants."""
    random = Random(seed)
    witness = Witness(monkeypatch)
    world = witness.world = World(development(), tmp_path, recordings(), seed=seed)
    world.run_until(world.ready, 30)
    swapped = refused = 0
    for number in range(25):
        before = (world.kernel.state.config_id, world.kernel.config)
        good = random.random() < 0.5
        payload = good_payload(random) if good else bad_payload(random)
        name = f"{'good' if good else 'bad'}-{number}"
        witness.seen.clear()
        world.driver.inject(RIM, SwapConfig(name, payload))
        world.driver.run_for(random.randrange(300 * MS))
        after = (world.kernel.state.config_id, world.kernel.config)
        if good:
            swapped += 1
            assert after == (name, msgspec.msgpack.decode(payload, type=Config))
        else:
            refused += 1
            assert after[0] == before[0]
            assert after[1] is before[1]
            assert world.view("configurator").refused_id == name
        assert witness.seen
        assert {config_id for _, config_id, _ in witness.seen} == {after[0]}
        assert all(config is after[1] for *_, config in witness.seen)
    assert min(swapped, refused) > 3
    assert not world.kernel.life.dead_letters


def load(environment: str, text: bytes) -> Loaded:
    """Load an environment as the daemon does, its own file being `text`."""
    known = {name: lookup("strategy", name).settings for name in names("strategy")}
    base = Layer("base.yaml", (ROOT / "config" / "base.yaml").read_bytes())
    layers = [base, Layer(f"environments/{environment}.yaml", text)]
    return load_texts(layers, {}, (), environment=environment, strategies=known)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_file_when_cut_at_a_random_byte_then_refused_or_nothing_is_missing(environment: str) -> None:
    """I-26: an environment's file names itself last, so a cut one loads only if all of it is there."""
    whole = (ROOT / "config" / "environments" / f"{environment}.yaml").read_bytes()
    meant = load(environment, whole).config_id
    last = whole.rindex(b"environment:")
    random = Random(environment)
    for at in {*random.sample(range(len(whole)), 25), last - 1, last, last + 12, len(whole) - 1}:
        if at < last:
            with pytest.raises(ConfigInvalid):
                load(environment, whole[:at])
            continue
        try:
            found = load(environment, whole[:at]).config_id
        except ConfigInvalid:
            continue
        assert found == meant


def test_config_when_damaged_files_come_in_a_row_then_only_whole_ones_become_active(tmp_path: Path) -> None:
    """I-26: cut files, as a reader sees them while they are written, never become the active one."""
    whole = (ROOT / "config" / "environments" / "development.yaml").read_bytes()
    world = World(development(at_once=False), tmp_path, recordings(), start_ns=1_700_000_000 * SECOND)
    world.run(1)
    random = Random(26)
    refusals = 0
    for number in range(40):
        qty = random.randint(100, 999)
        text = whole.replace(b"max_order_qty: 150", b"max_order_qty: %d" % qty)
        valid = random.random() < 0.3
        before = world.kernel.state.config_id
        try:
            loaded = load(
                "development", text if valid else text[: random.randrange(text.rindex(b"environment:"))]
            )
        except ConfigInvalid:
            assert not valid
            refusals += 1
            continue
        assert valid
        world.driver.inject(RIM, SwapConfig(f"{loaded.config_id}-{number}", encode_config(loaded.config)))
        world.driver.run_for(random.randrange(50 * MS))
        assert world.kernel.state.config_id == f"{loaded.config_id}-{number}" != before
        assert world.kernel.config.risk.instruments["binance:ETH/USDT"].max_order_qty == qty
    assert 10 < refusals < 40

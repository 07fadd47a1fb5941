"""Edits of the configuration in the simulated world: good ones, bad ones, halves of them."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tradefan.config.schema import Config, InstrumentRisk, StrategyConfig
from tradefan.messages.control import SwapConfig
from tradefan.sim.process import Life
from tradefan.units import SECOND
from tradefan.wiring import encode_config

if TYPE_CHECKING:
    from tradefan.sim.world import World


def _swap(world: World, life: Life, config: Config | None, payload: bytes | None = None) -> None:
    world.configs += 1
    config_id = f"cfg-{world.configs}"
    if config is not None:
        world.witness.configs[config_id] = config
    body = payload if payload is not None else encode_config(config or life.kernel.config)
    life.inject("", SwapConfig(config_id, body))


def invalid(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Hand in what contradicts itself, or what only a restart may change."""
    config = life.kernel.config
    wrong = rng.choice(
        (
            replace(config, portfolio=replace(config.portfolio, numeraire="EUR")),
            replace(
                config, runtime=replace(config.runtime, facts_high_water=config.runtime.facts_high_water + 1)
            ),
            replace(config, risk=replace(config.risk, max_order_notional=Decimal(-1))),
            replace(config, feeds={}),
        )
    )
    _swap(world, life, None, encode_config(wrong))
    return True


def truncated(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Hand in the first part of what is in force."""
    payload = encode_config(life.kernel.config)
    _swap(world, life, None, payload[: int(len(payload) * rng.random())])
    return True


def limit(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Lower the limits of one instrument under what is held or working there."""
    risk = life.kernel.config.risk
    name = rng.choice(world.options.instruments).id
    limits, part = risk.limits(name), Decimal(str(round(0.05 + 0.5 * rng.random(), 2)))
    lower = InstrumentRisk(
        max_order_qty=limits.max_order_qty,
        max_position=limits.max_position * part,
        max_position_notional=(limits.max_position_notional * part).quantize(Decimal("0.01")),
    )
    instruments = {**risk.instruments, str(name): lower}
    _swap(world, life, replace(life.kernel.config, risk=replace(risk, instruments=instruments)))
    world.later(world.now_ns + int(40 * SECOND * rng.random()), lambda: _restore(world))
    return True


def _restore(world: World) -> None:
    """Bring the limits of the beginning back, if a process lives to hear it."""
    life = world.life
    if life is not None:
        _swap(world, life, replace(life.kernel.config, risk=world.options.config.risk))


def other_limits(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Swap in the limits of the beginning, with another price band and rate."""
    risk = replace(
        world.options.config.risk,
        price_band_bps=Decimal(rng.choice((100, 200, 500))),
        orders_per_second=rng.choice((2, 5, 20)),
    )
    _swap(world, life, replace(life.kernel.config, risk=risk))
    return True


def other_strategies(world: World, life: Life, kind: str, rng: Random) -> bool:
    """Take an instance out, disable it, or let it begin again with other settings or capital."""
    config = life.kernel.config
    if not config.strategies:
        return False
    owner = rng.choice(sorted(config.strategies))
    roll, one = rng.random(), config.strategies[owner]
    if roll < 0.2:
        _swap(world, life, _with(config, owner, None))
    elif roll < 0.4:
        _swap(world, life, _with(config, owner, replace(one, enabled=False)))
    elif roll < 0.6:
        _swap(world, life, _with(config, owner, replace(one, capital=one.capital + 1)))
    else:
        settings = {**one.settings, "period": rng.choice(("3s", "4s", "6s", "10s"))}
        _swap(world, life, _with(config, owner, replace(one, settings=settings)))
    world.later(world.now_ns + int(30 * SECOND * rng.random()), lambda: _bring_back(world, owner))
    return True


def _bring_back(world: World, owner: str) -> None:
    """Let it be as it was, if a process lives to hear it."""
    life = world.life
    if life is not None:
        _swap(world, life, _with(life.kernel.config, owner, world.options.config.strategies[owner]))


def _with(config: Config, owner: str, one: StrategyConfig | None) -> Config:
    others = {name: other for name, other in config.strategies.items() if name != owner}
    return replace(config, strategies=others if one is None else {**others, owner: one})

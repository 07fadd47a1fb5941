"""From texts to one checked configuration, or to all of their mistakes at once.

Layers, each over the one before: base, environment, local, `TRADEFAN__SECTION__KEY`, `--set`. `null` takes an
entry away or gives a key its default back. Everything here is a function of its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b

import msgspec
from msgspec import Struct

from tradefan.config import nodes
from tradefan.config.check import Problem, problems
from tradefan.config.layers import Branch, Check, Place, Source, build, merge, places
from tradefan.config.mistakes import ConfigInvalid, Mistake, meant
from tradefan.config.nodes import Entry, Node, Scalar
from tradefan.config.schema import Config
from tradefan.config.shape import root
from tradefan.config.sources import Layer, from_environ, from_files, from_sets, read_layers

__all__ = ["Layer", "Loaded", "Strategies", "identify", "load_texts", "read_layers"]

Strategies = Mapping[str, type[Struct]]
"""Registered strategies with the Structs of their settings."""


class Loaded(Struct, frozen=True):
    """A checked configuration; `origins` says where each key that was given was given."""

    config: Config
    config_id: str
    origins: dict[str, str]


def load_texts(
    layers: Sequence[Layer],
    environ: Mapping[str, str],
    sets: Sequence[str],
    *,
    environment: str | None = None,
    strategies: Strategies | None = None,
) -> Loaded:
    """Return the effective configuration of some texts.

    With `environment` the files must name it, with `strategies` each `use` and its settings are checked.

    Raises:
        ConfigInvalid: with every mistake, in the order of layers and lines.
    """
    opened = (*from_files(layers), *from_environ(environ), *from_sets(sets))
    sources = [item.source for item in opened]
    checks = _checks(sources, strategies or {})
    mistakes = [mistake for item in opened for mistake in item.mistakes]
    mistakes += [mistake for check in checks for mistake in check.mistakes]
    top = merge(check.given for check in checks)
    config: Config = build(root(Config), top)
    # What is missing from half a file would look like a hundred mistakes that nobody made.
    if all(item.whole for item in opened):
        mistakes += _located(_problems(config, top, environment, strategies), top, sources, mistakes)
    if mistakes:
        raise ConfigInvalid(_ordered(mistakes, sources))
    return Loaded(config, identify(config), {key: str(place) for key, place in places(top)})


def identify(config: Config) -> str:
    """Return the id of a configuration: equal exactly when nothing differs, in however it was written."""
    return blake2b(msgspec.json.encode(config), digest_size=6).hexdigest()


def _checks(sources: Sequence[Source], strategies: Strategies) -> list[Check]:
    """Hold every layer against the schema, a strategy's settings against those of what it uses."""
    uses: dict[str, str] = {}
    for source in sources:
        uses |= _uses(source.root)
    settings = {name: root(strategies[use]) for name, use in uses.items() if use in strategies}
    checks = [Check(source, settings) for source in sources]
    for check, source in zip(checks, sources, strict=True):
        if source.root is not None:
            check.walk(root(Config), source.root)
    return checks


def _uses(node: Node | None) -> dict[str, str]:
    """Return what the strategies of one layer use, before anything is checked."""
    return {
        strategy.key: use.node.text
        for section in _entries(node, "strategies")
        for strategy in _entries(section.node, None)
        for use in _entries(strategy.node, "use")
        if isinstance(use.node, Scalar)
    }


def _entries(node: Node | None, key: str | None) -> list[Entry]:
    entries = node.entries if isinstance(node, nodes.Mapping) else []
    return [entry for entry in entries if key in (None, entry.key)]


def _problems(
    config: Config, top: Branch, environment: str | None, strategies: Strategies | None
) -> Iterator[Problem]:
    if environment is not None and ("environment" not in top.below or config.environment != environment):
        got = config.environment if "environment" in top.below else None
        # Its files end with this key, so that one which was cut short while being written is noticed.
        yield Problem("environment", got, environment, "the last line of environments/*.yaml names it")
    yield from problems(config)
    if strategies is not None:
        yield from _strategy_problems(config, strategies)


def _strategy_problems(config: Config, strategies: Strategies) -> Iterator[Problem]:
    for name, strategy in config.strategies.items():
        settings = strategies.get(strategy.use)
        key = f"strategies.{name}"
        if settings is None and strategy.use:
            yield Problem(
                f"{key}.use", strategy.use, "a registered strategy", meant(strategy.use, strategies)
            )
        elif settings is not None:
            try:
                msgspec.convert(strategy.settings, settings)
            except msgspec.ValidationError as error:
                yield Problem(f"{key}.settings", None, f"settings of {strategy.use}", str(error))


def _located(
    found: Iterator[Problem], top: Branch, sources: Sequence[Source], known: Sequence[Mistake]
) -> list[Mistake]:
    """Give problems their place, but not those that may only follow from a mistake at the same key."""
    where = dict(places(top))
    files = [source.name for source in sources if source.lined]
    mistakes = []
    for problem in found:
        if not any(_related(problem.key, mistake.key) for mistake in known):
            place = _nearest(problem.key, where) or Place(files[-1] if files else "configuration", None)
            mistakes.append(
                Mistake(place.file, place.line, problem.key, problem.value, problem.expected, problem.hint)
            )
    return mistakes


def _related(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _nearest(key: str, where: Mapping[str, Place]) -> Place | None:
    while key:
        if key in where:
            return where[key]
        key = key.rpartition(".")[0]
    return None


def _ordered(mistakes: list[Mistake], sources: Sequence[Source]) -> list[Mistake]:
    order = {source.name: number for number, source in enumerate(sources)}
    last = len(order)
    return sorted(
        mistakes,
        key=lambda item: (order.get(item.file, last), item.line is None, item.line or 0),
    )

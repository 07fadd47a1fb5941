"""Builders: a configuration that is right, and what the loader says about one that is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from msgspec import Struct

from tradefan.config.loader import Loaded, load_texts
from tradefan.config.mistakes import ConfigInvalid
from tradefan.config.sources import Layer

GOOD = """\
accounts: {paper:main: {}}
venues: {binance: {}}
feeds: {binance:BTC/USDT: {}, binance:ETH/USDT: {}}
"""


def load(
    *texts: str,
    environ: Mapping[str, str] | None = None,
    sets: Sequence[str] = (),
    environment: str | None = None,
    strategies: Mapping[str, type[Struct]] | None = None,
) -> Loaded:
    """Load GOOD as `base` and the texts over it, named one, two, three."""
    names = ("one", "two", "three")
    layers = [Layer("base", GOOD.encode())]
    layers += [Layer(name, text.encode()) for name, text in zip(names, texts, strict=False)]
    return load_texts(layers, environ or {}, sets, environment=environment, strategies=strategies)


def mistakes(*texts: str, **rest: object) -> list[str]:
    """Return all lines that the loader says about texts over GOOD."""
    with pytest.raises(ConfigInvalid) as caught:
        load(*texts, **rest)  # type: ignore[arg-type]
    return [str(mistake) for mistake in caught.value.mistakes]

"""What a simulated venue is like in one seed: its bounds, its delays, and how often it does what.

Every kind has its own streams of chance, so that a fault list made shorter leaves all other faults
as they were. Source of bounds and ranges: RELIABILITY.md 2c, the table of a venue's personality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Literal

from msgspec import Struct

from tradefan.sim.kinds import VENUE_KINDS
from tradefan.sim.only import Only
from tradefan.units import MS, SECOND

Shape = Literal["zero", "uniform", "bound", "mixed"]
SHAPES: tuple[Shape, ...] = ("zero", "uniform", "bound", "mixed")
LIAR_KINDS = ("not_found", "balance_wrong", "trade_hidden")
ANSWER_DELAY_NS = 120 * SECOND
EVENT_DELAY_NS = 5 * SECOND
LIAR_FILL_NS = 3_600 * SECOND
LIAR_LAG_NS = 60 * SECOND
QUERY_SHARE = 0.25
"""How much rarer faults of queries are than those of orders: a look takes half a dozen of them."""

RATES: dict[str, tuple[float, float]] = {
    "ack_delay": (0.02, 0.2),
    "answer_lost": (0.01, 0.2),
    "answer_duplicated": (0.005, 0.05),
    "late_accept": (0.02, 0.2),
    "request_lost": (0.005, 0.05),
    "malformed": (0.005, 0.03),
    "oversized": (0.001, 0.004),
    "item_missing": (0.01, 0.1),
    "rate_limit": (0.001, 0.01),
    "ban": (0.0005, 0.002),
    "server_error": (0.005, 0.05),
    "fill_before_ack": (0.1, 0.9),
    "late_fill": (0.01, 0.1),
    "partial_storm": (0.2, 0.8),
    "cancel_lost": (0.01, 0.1),
    "cancel_race": (0.01, 0.1),
    "echo_rewritten": (0.005, 0.03),
    "overfill": (0.002, 0.01),
    "bust": (0.002, 0.01),
    "correction": (0.002, 0.01),
    "trade_id_missing": (0.02, 0.2),
    "query_lag": (0.2, 1.0),
    "stream_shuffle": (0.2, 1.0),
    "stream_duplicated": (0.01, 0.1),
    "post_only_reject": (0.05, 0.3),
    "not_found": (0.02, 0.1),
    "balance_wrong": (0.02, 0.1),
    "trade_hidden": (0.05, 0.3),
}
"""Share of the opportunities at which a kind happens, when it is on."""
EVERY_S: dict[str, tuple[float, float]] = {
    "maintenance_cancel": (60, 300),
    "stream_silent": (120, 400),
    "stream_drop": (120, 400),
    "connection_reset": (120, 400),
    "connection_refused": (200, 600),
    "connection_slow": (150, 500),
    "half_open": (200, 600),
    "foreign_order": (60, 300),
    "foreign_fill": (90, 400),
    "transfer": (120, 400),
}
"""Mean seconds between two of a kind that comes by itself."""
MODES = tuple(kind for kind in VENUE_KINDS if kind not in RATES and kind not in EVERY_S)
"""Kinds that hold all the time, so that there are no single ones of them."""


def chance(seed: int, purpose: str) -> Random:
    """Return the stream of chance of one purpose: the same for a seed under any PYTHONHASHSEED."""
    return Random(f"{seed}/{purpose}")  # noqa: S311 a simulation wants chance that repeats


def swarm(seed: int, kinds: Iterable[str]) -> tuple[str, ...]:
    """Return those of the kinds that are on in this seed: each by its own coin."""
    return tuple(kind for kind in kinds if chance(seed, f"swarm/{kind}").random() < 0.5)


class Delay(Struct, frozen=True):
    """A delay that is zero, uniform up to its bound, or exactly its bound; `mixed` draws one of these."""

    shape: Shape
    bound_ns: int

    def draw(self, rng: Random) -> int:
        """Return nanoseconds."""
        shape = rng.choice(SHAPES[:3]) if self.shape == "mixed" else self.shape
        uniform_ns = rng.randint(0, self.bound_ns)
        return {"zero": 0, "uniform": uniform_ns}.get(shape, self.bound_ns)


class Personality(Struct, frozen=True):
    """All knobs of one venue; a kind that is neither in `rates`, `every_s` nor `modes` is off.

    `rates` are shares of opportunities, `every_s` mean seconds between two, `modes` hold all the time.
    """

    honest: bool = True
    accept_bound_ns: int = 12 * SECOND
    visible_bound_ns: int = 5 * SECOND
    late_fill_bound_ns: int = 300 * SECOND
    latency_ns: int = 20 * MS
    accept: Delay = Delay("zero", 0)
    """After `not_after`, of a late accept."""
    answer: Delay = Delay("zero", 0)
    lag: Delay = Delay("zero", 0)
    event: Delay = Delay("zero", 0)
    late_fill: Delay = Delay("zero", 0)
    rates: dict[str, float] = {}
    every_s: dict[str, float] = {}
    modes: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds that are on."""
        return (*self.rates, *self.every_s, *self.modes)


def draw(seed: int, liar: bool, kinds: Iterable[str], *, all_on: bool = False) -> Personality:
    """Draw a venue's personality; of the enabled kinds each is on by a coin, or all are with `all_on`."""
    wanted = [kind for kind in VENUE_KINDS if kind in tuple(kinds)]
    on = wanted if all_on else swarm(seed, wanted)
    on = [kind for kind in on if liar or kind not in LIAR_KINDS]
    rng = chance(seed, "bounds")
    accept_ns = rng.randint(SECOND // 2, 30 * SECOND)
    visible_ns = rng.choice((0, rng.randint(0, 10 * SECOND), 10 * SECOND))
    late_ns = rng.choice((0, rng.randint(0, 540 * SECOND), 540 * SECOND))

    def delay(name: str, bound_ns: int) -> Delay:
        return Delay(chance(seed, f"shape/{name}").choice(SHAPES[1:]), bound_ns)

    return Personality(
        honest=not liar,
        accept_bound_ns=accept_ns,
        visible_bound_ns=visible_ns,
        late_fill_bound_ns=late_ns,
        latency_ns=rng.randint(1, 50) * MS,
        accept=delay("accept", 4 * accept_ns + 60 * SECOND if liar else accept_ns),
        answer=delay("answer", ANSWER_DELAY_NS),
        lag=delay("lag", visible_ns + LIAR_LAG_NS if liar else visible_ns),
        event=delay("event", EVENT_DELAY_NS),
        late_fill=delay("late_fill", LIAR_FILL_NS if liar else late_ns),
        rates={kind: chance(seed, f"rate/{kind}").uniform(*RATES[kind]) for kind in on if kind in RATES},
        every_s={
            kind: chance(seed, f"rate/{kind}").uniform(*EVERY_S[kind]) for kind in on if kind in EVERY_S
        },
        modes=tuple(kind for kind in on if kind not in RATES and kind not in EVERY_S),
    )


class Chances:
    """The streams of chance of a running venue or market, and whom to tell what really happened."""

    def __init__(
        self,
        seed: int,
        note: Callable[[str, str], None],
        *,
        rates: dict[str, float] | None = None,
        every_s: dict[str, float] | None = None,
        modes: tuple[str, ...] = (),
        only: Only | None = None,
    ) -> None:
        """Begin all streams; what `only` leaves out is drawn and does not happen."""
        self.note = note
        self._only = only or Only()
        self._seed = seed
        self._rates = dict(rates or {})
        self._every_s = dict(every_s or {})
        self._modes = {kind: True for kind in modes if self._only.lets(kind)}
        self._streams: dict[str, Random] = {}

    def rng(self, purpose: str) -> Random:
        """Return a purpose's stream."""
        stream = self._streams.get(purpose)
        if stream is None:
            stream = self._streams[purpose] = chance(self._seed, purpose)
        return stream

    def hit(self, kind: str, share: float = 1.0) -> bool:
        """Say whether a kind is drawn at this opportunity; whoever does it asks `happens` or `lets` before.

        `share` makes it rarer where a kind has many more opportunities than elsewhere.
        """
        rate = self._rates.get(kind, 0.0) * share
        return rate > 0 and self.rng(kind).random() < rate

    def lets(self, kind: str) -> bool:
        """Say whether what was drawn may happen, asked when all of it was drawn; whoever does it notes it."""
        return self._only.drawn(kind)

    def happens(self, kind: str, text: str = "") -> bool:
        """Say whether what was drawn may happen, and note it when it may."""
        lets = self.lets(kind)
        if lets:
            self.note(kind, text)
        return lets

    def mode(self, kind: str) -> bool:
        """Say whether a kind holds all the time."""
        return kind in self._modes

    def every(self) -> tuple[str, ...]:
        """Return the kinds that come by themselves."""
        return tuple(self._every_s)

    def wait_ns(self, kind: str) -> int | None:
        """Draw the time until the next of a kind that comes by itself, None when it is off."""
        mean_s = self._every_s.get(kind)
        return None if mean_s is None else int(self.rng(f"{kind}/wait").expovariate(1 / mean_s) * SECOND)

    def calm(self) -> None:
        """Let nothing new happen; modes stay as they are, since they break no bound."""
        self._rates.clear()
        self._every_s.clear()

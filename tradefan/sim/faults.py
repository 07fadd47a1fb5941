"""Faults of everything but the venue and its market: their words, and when they happen in a seed.

A schedule is drawn before the run, each kind from a stream of its own. What a fault does stands in
`sim.inject`; venue and market draw theirs as they go (`sim.kinds`).
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from tradefan.errors import Refused
from tradefan.setting import suggest
from tradefan.sim.kinds import MARKET_KINDS, VENUE_KINDS
from tradefan.sim.only import Only
from tradefan.sim.personality import LIAR_KINDS, MODES, chance, swarm
from tradefan.units import MINUTE, SECOND

WORLD_KINDS: dict[str, str] = {
    "crash_effect": "the process dies before one of its effects, kill -9",
    "crash_disk": "the process dies before one of its disk calls",
    "crash_take": "the process dies between taking ingress and its step",
    "crash_repair": "a sync of the journal fails, and the process dies before a call of its repair",
    "crash_start": "the process dies again while it starts, once to thrice",
    "power_loss": "a crash loses what was not synced: kept, lost or torn",
    "wall_jump": "the wall clock of the next process differs by up to an hour",
    "stall": "the process stands still for up to 60 s",
    "stop": "an orderly stop and a start",
    "link_death": "a link ends by an exception: the journal's, the store's, the market's or the venue's",
    "swizzle": "streams of market and account stop one by one, and come back at random",
    "disk_full": "the journal's disk has no room for a while, or for one write",
    "disk_error": "a write or sync of the journal's disk fails, once or for a while",
    "sync_slow": "a commit takes up to 5 s",
    "damage": "at a kill a copy of the disk is harmed: a byte flips, a file is cut, gone or old",
    "actor_raise": "an actor raises at a message, the order manager at a kill, a strategy as its turn waits",
    "book_differs": "the risk desk's book of a position is wrong, until it comes right or a human resumes",
    "poison_fact": "the order manager raises at a report or fill",
    "strategy_raise": "a strategy raises",
    "strategy_flood": "a strategy wishes for hundreds of orders at once",
    "strategy_nonsense": "a strategy wishes for impossible quantities and unknown symbols",
    "strategy_price": "a strategy gives a limit far beyond the market, to its loss",
    "strategy_unencodable": "a strategy's state does not encode",
    "strategy_endless": "a strategy's turn has no end, and is broken off",
    "strategy_wrong_type": "a strategy returns what is no wish",
    "rule_raise": "a risk rule raises, for up to 10 s",
    "executor_raise": "an executor raises",
    "executor_nonsense": "an executor places more than its parent has",
    "executor_price": "an executor prices beyond limit or collar, by a tick or by up to a tenth",
    "executor_flood": "an executor answers thousands of commands",
    "executor_ignores_fills": "an executor places its whole parent again and again",
    "executor_endless": "an executor's generator never ends",
    "executor_wrong_type": "an executor returns what is no command",
    "config_invalid": "a configuration that does not fit is handed in",
    "config_truncated": "half a configuration is handed in",
    "config_limit": "a limit is lowered under what is held",
    "config_swap": "a valid configuration is swapped in",
    "config_strategies": "a strategy is taken out, disabled, or given other settings, and brought back later",
    "store_slow": "the store takes a second for each batch",
    "store_hung": "the store answers nothing for up to a minute",
    "store_fails": "the store's disk fails for up to a minute, or fails behind what it has done",
    "store_partial": "the store takes a part of a batch before its disk fails",
    "influx_away": "InfluxDB refuses for up to two minutes, and is as it was",
    "influx_slow": "InfluxDB takes up to 3 s for each request",
    "influx_unheard": "InfluxDB's answers are lost; it has done what was asked, does it later, or never",
    "influx_poison": "InfluxDB takes no line of one measurement for a while, and does not say of which",
    "influx_death": "the link to InfluxDB ends by an exception, or the actor that writes to it",
    "kill": "the operator kills a scope, often where a create waits or a stop is near, and resumes it later",
    "cancel_storm": "the operator cancels everything, again and again",
    "resolve": "the operator resolves what is in doubt or poisoned",
    "assign": "the operator moves a position to another owner",
}
"""Of process, disk, clock, actors, plug-ins, configuration, stores and operator."""

KINDS: dict[str, str] = {**VENUE_KINDS, **MARKET_KINDS, **WORLD_KINDS}
CRASHES = ("crash_effect", "crash_disk", "crash_take")
MODIFIERS = ("power_loss", "wall_jump", "crash_start", "damage")
"""They come with a crash and have no instants of their own."""
CRASH = "crash_"
STRATEGY = "strategy_"
EXECUTOR = "executor_"

PER_MINUTE: dict[str, float] = {
    "crash_effect": 0.10,
    "crash_disk": 0.08,
    "crash_take": 0.05,
    "crash_repair": 0.5,
    "stall": 0.08,
    "stop": 0.04,
    "link_death": 0.15,
    "swizzle": 0.05,
    "disk_full": 0.10,
    "disk_error": 0.12,
    "sync_slow": 0.15,
    "actor_raise": 0.25,
    "book_differs": 0.15,
    "poison_fact": 0.06,
    "strategy_raise": 0.12,
    "strategy_flood": 0.12,
    "strategy_nonsense": 0.2,
    "strategy_price": 0.4,
    "strategy_unencodable": 0.1,
    "strategy_endless": 0.06,
    "strategy_wrong_type": 0.08,
    "rule_raise": 0.15,
    "executor_raise": 0.5,
    "executor_nonsense": 0.5,
    "executor_price": 0.5,
    "executor_flood": 0.3,
    "executor_ignores_fills": 0.5,
    "executor_endless": 0.2,
    "executor_wrong_type": 0.3,
    "config_invalid": 0.3,
    "config_truncated": 0.3,
    "config_limit": 0.2,
    "config_swap": 0.3,
    "config_strategies": 0.25,
    "store_slow": 0.15,
    "store_hung": 0.1,
    "store_fails": 0.1,
    "store_partial": 0.1,
    "influx_away": 0.2,
    "influx_slow": 0.3,
    "influx_unheard": 0.2,
    "influx_poison": 0.2,
    "influx_death": 0.3,
    "kill": 0.4,
    "cancel_storm": 0.2,
    "resolve": 0.3,
    "assign": 0.3,
}
"""Mean number of a kind in a minute with faults, when it is on."""


class Planned(Struct, frozen=True, order=True):
    """One fault to come, at true time; `number` makes its own stream of chance."""

    at_ns: int
    kind: str
    number: int


class Faults(Struct, frozen=True):
    """What may go wrong in one seed: kinds that are on, and the plan of those that have instants."""

    on: tuple[str, ...]
    plan: tuple[Planned, ...]

    def has(self, kind: str) -> bool:
        """Say whether a kind is on."""
        return kind in self.on


def read_kinds(text: str) -> tuple[tuple[str, ...], bool]:
    """Return the kinds that `all`, `none` or a list names, and whether each of them is on for sure.

    Raises:
        Refused: UNKNOWN_FAULT with what was probably meant.
    """
    if text == "all":
        return tuple(KINDS), False
    words = _words(text)
    for word in words:
        if word not in KINDS:
            expected = "--faults: expected all, none or kinds of faults"
            raise Refused("UNKNOWN_FAULT", f"{expected}, got {word!r}{suggest(word, KINDS)}")
    return tuple(kind for kind in KINDS if kind in words), True


def read_only(text: str) -> tuple[str, ...] | None:
    """Return the words of `KIND` or `KIND:NUMBER` that a text holds, none for `none`; None for `all`.

    Raises:
        Refused: UNKNOWN_FAULT with what was probably meant.
    """
    if text == "all":
        return None
    words = _words(text)
    for word in words:
        kind, colon, number = word.partition(":")
        expected = "--only: expected all, none, or faults such as stall or crash_effect:2"
        if kind not in KINDS:
            raise Refused("UNKNOWN_FAULT", f"{expected}, got {word!r}{suggest(kind, KINDS)}")
        if kind in MODES and colon:
            raise Refused("UNKNOWN_FAULT", f"{expected}, got {word!r}; {kind} holds all the time")
        if colon and not (number.isascii() and number.isdigit()):
            raise Refused(
                "UNKNOWN_FAULT", f"{expected}, got {word!r}; behind the colon is a number from 0 on"
            )
    return tuple(dict.fromkeys(words))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word != "none")


def on_in(seed: int, kinds: Iterable[str], *, all_on: bool, liar: bool) -> tuple[str, ...]:
    """Return the kinds that are on: all named ones, or a subset by coins with at least one crash."""
    wanted = tuple(kinds)
    on = wanted if all_on else swarm(seed, wanted)
    crashes = tuple(kind for kind in CRASHES if kind in wanted)
    if not all_on and crashes and not any(kind in on for kind in crashes):
        on = (*on, chance(seed, "crash").choice(crashes))
    return tuple(kind for kind in on if liar or kind not in LIAR_KINDS)


def schedule(seed: int, on: Iterable[str], start_ns: int, span_ns: int) -> Faults:
    """Draw the instants of all kinds that have any; crashes come at least twice in all."""
    kinds = tuple(on)
    plan: list[Planned] = []
    for kind in kinds:
        if kind in PER_MINUTE:
            plan += _instants(seed, kind, start_ns, span_ns)
    crashes = [kind for kind in CRASHES if kind in kinds]
    missing = 2 - sum(one.kind in CRASHES for one in plan)
    rng = chance(seed, "crashes")
    for number in range(missing if crashes else 0):
        at_ns = start_ns + int(span_ns * rng.uniform(0.05, 0.9))
        plan.append(Planned(at_ns, rng.choice(crashes), 100 + number))
    return Faults(kinds, tuple(sorted(plan)))


def _instants(seed: int, kind: str, start_ns: int, span_ns: int) -> list[Planned]:
    rng, mean_ns = chance(seed, f"when/{kind}"), MINUTE / PER_MINUTE[kind]
    found: list[Planned] = []
    at_ns = start_ns + 5 * SECOND
    while (at_ns := at_ns + int(rng.expovariate(1 / mean_ns))) < start_ns + span_ns:
        found.append(Planned(at_ns, kind, len(found)))
    return found


def misdeeds(faults: Faults, strategies: int, only: Only) -> dict[int, str]:
    """Return what each strategy does wrong and when, as its settings say it."""
    found: dict[int, list[str]] = {}
    for one in faults.plan:
        if one.kind.startswith(STRATEGY) and only.lets(one.kind, one.number):
            word = f"{one.kind.removeprefix(STRATEGY)}@{one.at_ns}"
            found.setdefault(one.number % strategies, []).append(word)
    return {number: " ".join(words) for number, words in found.items()}

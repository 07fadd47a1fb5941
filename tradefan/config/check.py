"""What one value cannot show: whether values fit each other, and which may be swapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo, available_timezones

from msgspec import Struct

from tradefan.config.fields import Change
from tradefan.config.leaf import Wrong, duration_text
from tradefan.config.mistakes import meant
from tradefan.config.schema import AccountConfig, Config, FeedConfig, StrategyConfig
from tradefan.config.shape import Slot, root, slots
from tradefan.errors import Refused
from tradefan.units import DAY, SECOND, parse_duration

PAPER = "paper"
RESERVED = ("api", "cli", "external")
"""Owners that are no strategies."""
TIMEFRAME = "a timeframe of at least 1s that divides a day, such as 5s, 1m or 4h"


class Problem(Struct, frozen=True):
    """A value that does not fit the others; the loader adds where it was said."""

    key: str
    value: str | None
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        """Return one line without a place."""
        got = "" if self.value is None else f", got {self.value}"
        return f"{self.key}: expected {self.expected}{got}{'; ' if self.hint else ''}{self.hint}"


class Difference(Struct, frozen=True):
    """One key that differs between two configurations; None where a side does not have it."""

    key: str
    old: str | None
    new: str | None
    change: Change

    def __str__(self) -> str:
        """Return one line that says when the change takes effect."""
        when = {"live": "at once", "restart": "at a restart", "fixed": "never in this data directory"}
        return f"{self.key}: from {self.old} to {self.new} takes effect {when[self.change]}"


def problems(config: Config) -> Iterator[Problem]:
    """Give everything that does not fit."""
    yield from _needed(config)
    for name, account in config.accounts.items():
        yield from _account(config, name, account)
    for name, feed in config.feeds.items():
        yield from _feed(config, name, feed)
    for name, strategy in config.strategies.items():
        yield from _strategy(config, name, strategy)
    for name in config.risk.instruments:
        if name not in config.feeds:
            yield Problem(
                f"risk.instruments.{name}", None, "an instrument under feeds", meant(name, config.feeds)
            )
    for name, notifier in config.notifiers.items():
        if not notifier.url:
            yield Problem(f"notifiers.{name}.url", None, "a reference to its address, such as ${OPS_URL}")
        if notifier.kind == "telegram" and not notifier.chat:
            yield Problem(f"notifiers.{name}.chat", None, "the chat's id, because telegram needs one")
    yield from _orders(config)
    yield from _zone(config.time.zone)


def validate(config: Config) -> tuple[str, ...]:
    """Return what is wrong with a snapshot, bounds included; nothing means that it may be used."""
    return (*_out_of_bounds(config), *(str(problem) for problem in problems(config)))


def diff(old: Config, new: Config) -> tuple[Difference, ...]:
    """Return the keys that differ, with when their change takes effect."""
    before, after = _values(old), _values(new)
    found = []
    for key in (*before, *(key for key in after if key not in before)):
        one, two = before.get(key), after.get(key)
        if one is None or two is None or one.value != two.value:
            slot = two or one
            assert slot is not None, "one of them is there"
            change = "live" if _comes_or_goes(slot, old, new) else slot.change
            found.append(Difference(key, _text(one), _text(two), change))
    return tuple(found)


def _comes_or_goes(slot: Slot, old: Config, new: Config) -> bool:
    """Say whether a value is that of a strategy instance that only one of them has, or of a new feed.

    A feed goes at a restart: who has an order or a position there needs its market until then.
    """
    section, *rest = slot.path
    if not rest or section not in ("strategies", "feeds"):
        return False
    had, has = rest[0] in getattr(old, section), rest[0] in getattr(new, section)
    return has and not had if section == "feeds" else has != had


def validate_swap(old: Config, new: Config) -> tuple[str, ...]:
    """Return why `new` may not replace `old` while the daemon runs; nothing means that it may."""
    refused = tuple(str(item) for item in diff(old, new) if item.change != "live")
    return (*validate(new), *refused)


def missing_to_run(config: Config, lack: Callable[[str], str | None]) -> tuple[str, ...]:
    """Return what `run` still needs; `lack` tells why a secret's reference leads to nothing, if so.

    Only paper accounts can be traded in this version.
    """
    real = {name: account for name, account in config.accounts.items() if account.venue != PAPER}
    missing = []
    if config.environment == "production" and not real:
        missing.append("an account on a real venue (accounts)")
    for name, account in real.items():
        missing += [
            f"{what} of {name} (accounts.{name}.{what}{f': {lack(reference)}' if reference else ''})"
            for what, reference in (("api_key", account.api_key), ("api_secret", account.api_secret))
            if not reference or lack(reference)
        ]
        missing.append(
            f"a connection to {account.venue} accounts: this version trades on paper only ({name})"
        )
    missing += [
        f"the {what} of a notifier (notifiers.{name}.{what}: {why})"
        for name, one in config.notifiers.items()
        for what, reference in (("url", one.url), ("secret", one.secret))
        if reference and (why := lack(reference))
    ]
    missing += [
        f"the {what} of {server} ({section}.{what}: {why})"
        for server, section, one in (("InfluxDB", "influx", config.influx), ("Redis", "redis", config.redis))
        for what, reference in (("username", one.username), ("password", one.password))
        if reference and (why := lack(reference))
    ]
    if real and not config.production.confirm:
        missing.append("your word that real money is wanted (production.confirm: true)")
    return tuple(missing)


def matching_feeds(config: Config, symbol: str) -> tuple[str, ...]:
    """Return the instruments that a user means by `BTC/USDT` or `binance:BTC/USDT`."""
    return tuple(name for name in config.feeds if symbol in (name, name.partition(":")[2]))


def _needed(config: Config) -> Iterator[Problem]:
    for key, have in (("account", config.accounts), ("venue", config.venues), ("feed", config.feeds)):
        if not have:
            yield Problem(f"{key}s", None, f"at least one {key}")


def _account(config: Config, name: str, account: AccountConfig) -> Iterator[Problem]:
    key = f"accounts.{name}.venue"
    venue = name.partition(":")[0]
    if account.venue != venue:
        yield Problem(key, account.venue, f"{venue}, as the account's name says")
    elif venue != PAPER and venue not in config.venues:
        yield Problem(key, venue, "paper or a venue under venues", meant(venue, (PAPER, *config.venues)))


def _feed(config: Config, name: str, feed: FeedConfig) -> Iterator[Problem]:
    venue = name.partition(":")[0]
    if venue not in config.venues:
        yield Problem(f"feeds.{name}", None, "a venue under venues", meant(venue, config.venues))
    if not feed.streams.names():
        yield Problem(f"feeds.{name}.streams", None, "at least one stream that is on")
    elif feed.tape and config.venues[venue].source != "tape":
        yield Problem(f"feeds.{name}.tape", feed.tape, f"source: tape at venues.{venue}, or no tape")
    if feed.timeframes() and not feed.streams.trade:
        yield Problem(f"feeds.{name}.streams.trade", "false", "true, because bars are made of trades")
    for timeframe in feed.bars:
        if not _is_timeframe(timeframe):
            yield Problem(f"feeds.{name}.bars.{timeframe}", timeframe, TIMEFRAME)


def _strategy(config: Config, name: str, strategy: StrategyConfig) -> Iterator[Problem]:
    key = f"strategies.{name}"
    if name in RESERVED:
        yield Problem(key, name, f"a name other than {', '.join(RESERVED)}")
    if not strategy.use:
        yield Problem(f"{key}.use", None, "the name of a registered strategy")
    if strategy.account not in config.accounts:
        hint = meant(strategy.account, config.accounts)
        yield Problem(f"{key}.account", strategy.account, "an account under accounts", hint)
    symbol, timeframe = strategy.settings.get("symbol"), strategy.settings.get("timeframe")
    if isinstance(symbol, str):
        yield from _symbol(config, f"{key}.settings.symbol", symbol)
    if isinstance(timeframe, str) and not _is_timeframe(timeframe):
        yield Problem(f"{key}.settings.timeframe", timeframe, TIMEFRAME)


def _symbol(config: Config, key: str, symbol: str) -> Iterator[Problem]:
    feeds = matching_feeds(config, symbol)
    if not feeds:
        symbols = [name.partition(":")[2] for name in config.feeds]
        yield Problem(key, symbol, "an instrument under feeds", meant(symbol, symbols))
    elif len(feeds) > 1:
        yield Problem(key, symbol, f"one of {', '.join(feeds)}, because several venues carry it")


def _orders(config: Config) -> Iterator[Problem]:
    """Give pairs of values of which one must not exceed the other."""
    runtime = config.runtime
    if runtime.messages_per_visit > runtime.messages_per_step:
        text = f"up to messages_per_step ({runtime.messages_per_step})"
        yield Problem("runtime.messages_per_visit", str(runtime.messages_per_visit), text)
    for name, venue in config.venues.items():
        if venue.backoff_base > venue.backoff_cap:
            bound = f"up to backoff_cap ({duration_text(venue.backoff_cap)})"
            yield Problem(f"venues.{name}.backoff_base", duration_text(venue.backoff_base), bound)
    recorder = config.recorder
    if recorder.segment_size > recorder.size_max:
        # One file alone would be more than all may be.
        text = f"up to size_max ({recorder.size_max})"
        yield Problem("recorder.segment_size", str(recorder.segment_size), text)
    if config.journal.path == config.store.path:
        yield Problem("store.path", config.store.path, "another file than the journal's")


def _zone(zone: str) -> Iterator[Problem]:
    try:
        # UTC is known without a database of time zones, which a small container may lack.
        _ = zone == "UTC" or ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        near = meant(zone, available_timezones())
        yield Problem("time.zone", zone, "a time zone such as UTC or Asia/Shanghai", near)


def _is_timeframe(text: str) -> bool:
    try:
        ns = parse_duration(text)
    except (Refused, ValueError):
        return False
    return ns >= SECOND and DAY % ns == 0


def _out_of_bounds(config: Config) -> Iterator[str]:
    for slot in slots(root(Config), config):
        try:
            if not isinstance(slot.value, dict):
                slot.leaf.check(slot.value)
        except Wrong as error:
            yield str(Problem(slot.key, _text(slot), error.text, error.hint))


def _values(config: Config) -> dict[str, Slot]:
    return {slot.key: slot for slot in slots(root(Config), config)}


def _text(slot: Slot | None) -> str | None:
    if slot is None:
        return None
    return "{}" if isinstance(slot.value, dict) else slot.leaf.text(slot.value)

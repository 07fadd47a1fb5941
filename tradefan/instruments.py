"""The rules of the instruments that a daemon has feeds of: from its recording, or asked of the venue."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException

from tradefan.config.schema import Config
from tradefan.errors import Outage, Refused
from tradefan.market_tape import packaged_exchange_info
from tradefan.messages.instrument import Instrument
from tradefan.units import InstrumentId
from tradefan.venues.binance import parse_instruments
from tradefan.venues.feed_events import BadFrame

_EXCHANGE_INFO_TIMEOUT_S = 15


def load_instruments(config: Config) -> dict[InstrumentId, Instrument]:
    """Return the rules of every instrument that has a feed; unknown ones of a live venue are asked for.

    Raises:
        Refused: UNKNOWN_INSTRUMENT for a feed that nobody describes.
        Outage: the venue did not answer.
    """
    known = {one.id: one for one in parse_instruments(packaged_exchange_info())}
    missing = sorted(name for name in config.feeds if name not in known)
    for name in missing:
        venue, _, symbol = name.partition(":")
        settings = config.venues.get(venue)
        if settings is None or settings.source != "live":
            raise Refused(
                "UNKNOWN_INSTRUMENT", f"feeds.{name}: no recording describes it; known {sorted(known)}"
            )
        known.update((one.id, one) for one in ask_exchange_info(settings.rest_url, symbol.replace("/", "")))
        if name not in known:
            raise Refused(
                "UNKNOWN_INSTRUMENT", f"feeds.{name}: the venue does not know it; known {sorted(known)}"
            )
    return {InstrumentId(name): known[InstrumentId(name)] for name in config.feeds}


def ask_exchange_info(rest_url: str, venue_symbol: str) -> tuple[Instrument, ...]:
    """Return what a venue says of one of its symbols.

    Raises:
        Outage: there was no answer, or one that says nothing usable.
    """
    url = f"{rest_url}/api/v3/exchangeInfo?symbol={venue_symbol}"
    try:
        with urllib.request.urlopen(url, timeout=_EXCHANGE_INFO_TIMEOUT_S) as response:  # noqa: S310 the schema asks for http(s)
            return parse_instruments(response.read())
    except urllib.error.HTTPError as error:
        region = ": this region is refused by the venue" if error.code in (403, 451) else ""
        raise Outage(f"{url}: HTTP {error.code}{region}") from error
    except (OSError, HTTPException, BadFrame) as error:
        raise Outage(f"{url}: {type(error).__name__}: {error}") from error

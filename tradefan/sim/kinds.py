"""The words of all faults that the simulated world can inject, each with what it does.

A word is an option of `--faults`, a row of the coverage matrix and the `kind` of an `Injected`.
"""

from __future__ import annotations

VENUE_KINDS: dict[str, str] = {
    "ack_delay": "an answer comes up to 120 s late",
    "answer_lost": "what was asked is done, and the answer never comes",
    "answer_duplicated": "an answer comes twice",
    "late_accept": "a create is accepted up to `not_after` + A, often without an answer",
    "request_lost": "a request never reaches the venue",
    "malformed": "an answer is cut short, lacks fields, or is no JSON at all",
    "oversized": "an answer has more than a mebibyte",
    "item_missing": "a list of open orders lacks one, or a page of trades one that is younger than V",
    "rate_limit": "a request is answered 429 with the instant to come back",
    "ban": "all requests are answered 418, and connections refused, for 10 s to 5 min",
    "server_error": "5xx, -1006 or -1007, whether or not the request was carried out",
    "fill_before_ack": "the private stream tells of fills before the answer to the create",
    "late_fill": "an order fills up to L after its cancel was acknowledged",
    "partial_storm": "orders fill in many small trades",
    "cancel_lost": "a cancel never reaches the venue",
    "cancel_race": "an order fills in the moment in which its cancel arrives",
    "maintenance_cancel": "the venue cancels orders of its own accord",
    "echo_rewritten": "the answer to a create names another client id",
    "overfill": "an order fills beyond its quantity",
    "bust": "the venue takes a trade back",
    "correction": "the venue changes a trade's quantity or price",
    "trade_id_missing": "a trade has no id",
    "id_reuse": "trades of different instruments have the same ids, and others use theirs again",
    "query_lag": "queries show the book as it was up to V ago",
    "stream_shuffle": "private events come in any order within 5 s",
    "stream_duplicated": "private events come twice",
    "stream_silent": "private events of up to a minute are lost",
    "stream_drop": "the private stream is ended",
    "connection_reset": "the account's connection breaks",
    "connection_refused": "the account's connection is refused for a while",
    "connection_slow": "all that comes back on the account's connection is late, for up to a minute",
    "half_open": "a connection takes requests that arrive nowhere and brings nothing",
    "foreign_order": "somebody else places an order on the account",
    "foreign_fill": "somebody else trades on the account",
    "transfer": "a deposit or a withdrawal",
    "opening": "the account holds positions, orders and old trades of others at the start",
    "fee_third_asset": "fees are taken in a third asset while there is some",
    "fee_quote": "fees are taken in the quote asset, of buys too",
    "post_only_reject": "a post-only order is rejected although the last quote let it rest",
    "stp": "own orders that would cross expire by self-trade prevention",
    "not_found": "liar: a query does not find a live order",
    "balance_wrong": "liar: balances are wrong for up to 60 s",
    "trade_hidden": "liar: trades of ours show for 30-90 s in the orders' reports only",
}
"""Of the account's venue; `liar` ones need a personality that is one."""

MARKET_KINDS: dict[str, str] = {
    "market_stall": "no frame of an instrument, or of any, for up to 2 min",
    "market_frozen": "frames keep coming with one event time",
    "market_gap": "frames are lost",
    "market_duplicated": "frames come twice",
    "market_crossed": "bid and ask cross for up to 4 s",
    "market_garbage": "a frame is no frame",
    "market_disconnect": "the public connection ends",
    "market_refused": "HTTP requests of the public market fail for a while",
    "flash_crash": "a price falls by 87 % and comes back",
    "halt": "an instrument is not traded for a while",
    "delist": "an instrument is taken off the venue",
    "filter_change": "tick or lot of an instrument change",
}
"""Of the public market; the venue obeys what it does to instruments."""

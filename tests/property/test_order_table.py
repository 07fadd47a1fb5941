"""The order table under any sequence of words: what may never happen, whatever comes."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.order_builders import order, report
from tradefan.core.order import (
    Event,
    Order,
    Revision,
    begin_doubt,
    happen,
    merge_fill,
    merge_report,
    revise,
    take_back,
)
from tradefan.messages.orders import TERMINAL, Doubt, OrderStatus

D = Decimal
S = OrderStatus

statuses = st.sampled_from(list(OrderStatus))
quantities = st.integers(0, 10)
words = st.one_of(
    st.tuples(st.just("report"), statuses, quantities),
    st.tuples(st.just("fill"), st.just(S.NEW), st.integers(1, 3)),
    st.tuples(st.just("bust"), st.just(S.NEW), st.integers(1, 3)),
    st.tuples(
        st.sampled_from(
            [
                Event.CANCEL,
                Event.CANCEL_REJECTED,
                Event.NOT_SENT,
                Event.NOT_PLACED,
                Event.ADOPTED,
                Event.REPLACE,
            ]
        ),
        st.just(S.NEW),
        st.just(0),
    ),
    st.tuples(st.sampled_from(list(Doubt)), st.just(S.NEW), st.just(0)),
)


def tell(one: Order, word: tuple[str, OrderStatus, int], at_ns: int) -> bool:
    kind, status, qty = word
    if kind == "report":
        return merge_report(one, report(status, qty, at_ns=at_ns))
    if kind == "fill":
        return merge_fill(one, D(qty), D(100), at_ns)
    if kind == "bust":
        gone = min(D(qty), one.filled)
        take_back(one, gone, D(100), at_ns)
        revise(one, Revision(at_ns, gone), at_ns)
        return True
    if isinstance(kind, Doubt):
        return begin_doubt(one, kind, "", at_ns)
    assert isinstance(kind, Event)
    return happen(one, kind, "", at_ns)


@given(st.lists(words, max_size=30))
def test_order_when_anything_comes_then_quantities_rise_and_ends_hold(
    story: list[tuple[str, OrderStatus, int]],
) -> None:
    """UNKNOWN is never stored, an end is left only by fill, adoption or bust.

    cum falls by a bust, or by the first report behind one whose loss is unknown. By a bust an end is left
    only where the venue itself has not ended it.
    """
    one = order()
    fills, unknown = D(0), False
    for at_ns, word in enumerate(story, 2):
        before, cum, busted = one.status, one.cum_qty, min(D(word[2]), one.filled)
        legal = tell(one, word, at_ns)
        settles = unknown and legal and word[0] == "report"
        unknown = (unknown and not settles) or (word[0] == "bust" and not busted)
        fills += word[2] if word[0] == "fill" else -busted if word[0] == "bust" else 0
        assert one.cum_qty >= cum or (word[0] == "bust" and cum - one.cum_qty <= busted) or settles
        assert one.filled == fills
        assert one.status is not S.UNKNOWN
        assert one.live == (one.status not in TERMINAL or one.in_doubt is not None)
        assert (one.in_doubt is None) == (one.in_doubt_since_ns is None)
        assert one.filled >= 0
        assert one.venue_cum >= 0
        if not legal and word[0] != "fill":
            assert (one.status, one.cum_qty) == (before, cum)
        if before in TERMINAL and one.status is not before:
            reopened = word[0] == "bust" and before is S.FILLED and not one.venue_ended
            assert one.status is S.FILLED or word[0] is Event.ADOPTED or reopened


@given(
    st.lists(
        st.tuples(
            st.sampled_from([S.NEW, S.PARTIALLY_FILLED, S.SUSPENDED, S.DONE_FOR_DAY]), st.integers(0, 9)
        ),
        max_size=6,
    ),
    st.sampled_from([S.FILLED, S.CANCELED, S.EXPIRED]),
    st.data(),
)
def test_reports_when_shuffled_and_doubled_then_the_end_is_the_same(
    reports: list[tuple[OrderStatus, int]], end: OrderStatus, data: st.DataObject
) -> None:
    """I8: duplicate and out-of-order reports change counters only."""
    last = 10 if end is S.FILLED else max((cum for _, cum in reports), default=0)
    story = [*((status, cum) for status, cum in reports), (end, last)]
    shuffled = data.draw(st.permutations([*story, *story]))
    results = []
    for told in (story, shuffled):
        one = order()
        for at_ns, (status, cum) in enumerate(told, 2):
            assert merge_report(one, report(status, cum, at_ns=at_ns))
        results.append((one.status, one.cum_qty, one.leaves_qty))
    assert results[0] == results[1]

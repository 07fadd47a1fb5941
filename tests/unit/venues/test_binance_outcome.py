"""What an answer of Binance proves: each row of the table, every code of the documentation, and garbage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradefan.messages.wire import Op
from tradefan.units import MINUTE, MS, SECOND
from tradefan.venues.binance_outcome import LEGS, TEXT_MAX, Outcome, Verdict, leg, outcome

REJECTED, DOUBT = Verdict.REJECTED, Verdict.IN_DOUBT


def error(code: int, text: str = "x", status: int = 400, **data: Any) -> bytes:
    """Return an answer of the WebSocket API."""
    body: dict[str, Any] = {"code": code, "msg": text}
    if data:
        body["data"] = data
    return json.dumps({"id": "1", "status": status, "error": body}).encode()


def test_answer_when_the_venue_did_it_then_it_is_done() -> None:
    """Both roads: an envelope of the socket, an object or a list of REST."""
    done = Outcome(Verdict.DONE, "")
    assert outcome("create", None, b'{"id":"1","status":200,"result":{}}') == done
    assert outcome("create", 200, b'{"symbol":"BTCUSDT","orderId":28,"status":"FILLED"}') == done
    assert outcome("query", 200, b'[{"orderId":1}]') == done


def test_rest_answer_when_it_carries_the_orders_own_status_then_that_is_no_http_status() -> None:
    """On REST `status` is a word of the order."""
    assert outcome("create", 200, b'{"status":"NEW"}').verdict is Verdict.DONE


@pytest.mark.failure("OR-01")
@pytest.mark.parametrize(
    ("code", "text", "verdict", "reason"),
    [
        (-1013, "Filter failure: LOT_SIZE", REJECTED, "FILTER"),
        (-1013, "Invalid quantity.", REJECTED, "DEFECT"),
        (-1013, "Market is closed.", REJECTED, "HALT"),
        (-1111, "Precision is over the maximum defined for this asset.", REJECTED, "FILTER"),
        (-1102, "Mandatory parameter was not sent.", REJECTED, "DEFECT"),
        (-1222, "Working must be buy.", REJECTED, "DEFECT"),
        (-1014, "Unsupported order combination.", REJECTED, "DEFECT"),
        (-1020, "This operation is not supported.", REJECTED, "DEFECT"),
        (-2010, "Account has insufficient balance for requested action.", REJECTED, "FUNDS"),
        (-2010, "Order would immediately match and take.", REJECTED, "POST_ONLY"),
        (-1010, "Order would trigger immediately.", REJECTED, "WOULD_TRIGGER"),
        (-2010, "Market is closed.", REJECTED, "HALT"),
        (-2010, "Iceberg orders are not supported for this symbol.", REJECTED, "UNSUPPORTED"),
        (-2010, "This symbol is restricted for this account.", REJECTED, "UNSUPPORTED"),
        (-2010, "This account may not place or cancel orders.", REJECTED, "AUTH"),
        (-2010, "Duplicate order sent.", DOUBT, "DUPLICATE"),
        (-2010, "Something that nobody has seen.", DOUBT, "UNLISTED"),
        (-1021, "Timestamp for this request is outside of the recvWindow.", REJECTED, "TIME"),
        (-1022, "Signature for this request is not valid.", REJECTED, "AUTH"),
        (-2014, "API-key format invalid.", REJECTED, "AUTH"),
        (-2015, "Invalid API-key, IP, or permissions for action.", REJECTED, "AUTH"),
        (-1002, "You are not authorized to execute this request.", REJECTED, "AUTH"),
        (-1000, "An unknown error occurred.", DOUBT, "VENUE"),
        (-1007, "Timeout waiting for response from backend server.", DOUBT, "VENUE"),
        (-2021, "Order cancel-replace partially failed.", DOUBT, "LEGS"),
        (-2013, "Order does not exist.", DOUBT, "UNKNOWN_ORDER"),
        (-9999, "New in 2030.", DOUBT, "UNLISTED"),
    ],
)
def test_create_when_it_is_refused_then_its_class_follows_the_table(
    code: int, text: str, verdict: Verdict, reason: str
) -> None:
    """One row each; what is not listed is in doubt."""
    assert outcome("create", None, error(code, text)) == Outcome(verdict, reason, text, code)
    rest = json.dumps({"code": code, "msg": text}).encode()
    assert outcome("create", 400, rest) == Outcome(verdict, reason, text, code)


@pytest.mark.failure("OR-08", "OR-10")
@pytest.mark.parametrize(
    ("op", "code", "text", "verdict", "reason"),
    [
        ("cancel", -2011, "Unknown order sent.", Verdict.NOT_FOUND, "UNKNOWN_ORDER"),
        ("cancel", -2011, "Order was not canceled due to cancel restrictions.", REJECTED, "RESTRICTED"),
        ("cancel", -2011, "Else.", DOUBT, "UNLISTED"),
        ("query", -2013, "Order does not exist.", Verdict.NOT_FOUND, "UNKNOWN_ORDER"),
        ("query", -2026, "Order was archived.", DOUBT, "ARCHIVED"),
    ],
)
def test_cancel_or_query_when_the_order_is_unknown_then_it_is_no_proof(
    op: Op, code: int, text: str, verdict: Verdict, reason: str
) -> None:
    """`Unknown order sent.` is information; -2013 is one negative look."""
    assert outcome(op, None, error(code, text)) == Outcome(verdict, reason, text, code)


@pytest.mark.parametrize(
    ("code", "text", "verdict", "reason"),
    [
        (-1013, "Filter failure: MAX_NUM_ORDERS", REJECTED, "FILTER"),
        (-1102, "Mandatory parameter was not sent.", REJECTED, "DEFECT"),
        (-1021, "Timestamp for this request is outside of the recvWindow.", REJECTED, "TIME"),
        (-2015, "Invalid API-key, IP, or permissions for action.", REJECTED, "AUTH"),
        (-2010, "Order cancel-replace is not supported for this symbol.", REJECTED, "UNSUPPORTED"),
        (-2010, "This account may not place or cancel orders.", REJECTED, "AUTH"),
        (-2010, "Account has insufficient balance for requested action.", DOUBT, "FUNDS"),
        (-2011, "Order was not canceled due to cancel restrictions.", DOUBT, "RESTRICTED"),
        (-2011, "Unknown order sent.", DOUBT, "UNKNOWN_ORDER"),
        (-2021, "Order cancel-replace partially failed.", DOUBT, LEGS),
        (-2022, "Order cancel-replace failed.", DOUBT, LEGS),
    ],
)
def test_replace_when_it_is_refused_as_a_whole_then_the_engines_codes_prove_nothing(
    code: int, text: str, verdict: Verdict, reason: str
) -> None:
    """What comes before both legs is definite; a leg's own code without legs leaves the other open."""
    assert outcome("replace", None, error(code, text)) == Outcome(verdict, reason, text, code)


def test_leg_when_it_failed_then_it_is_classed_as_if_it_had_been_sent_alone() -> None:
    """A cancel's unknown order is no proof, a create's lack of funds is one, the unlisted is in doubt."""
    found = [
        leg("cancel", -2011, "Unknown order sent."),
        leg("create", -2010, "Account has insufficient balance for requested action."),
        leg("create", -2011, "Unknown order sent."),
        leg("create", -1015, "Too many new orders."),
    ]
    assert [(item.verdict, item.reason) for item in found] == [
        (Verdict.NOT_FOUND, "UNKNOWN_ORDER"),
        (REJECTED, "FUNDS"),
        (DOUBT, "UNKNOWN_ORDER"),
        (DOUBT, "UNLISTED"),
    ]


def test_text_when_it_has_no_end_then_so_much_of_it_is_kept() -> None:
    """The venue's words go into the journal; what they mean is read from all of them."""
    long = "x" * 5_000 + " Market is closed."
    found = outcome("create", None, error(-2010, long))
    assert (found.reason, found.text) == ("HALT", long[:TEXT_MAX])


@pytest.mark.failure("OR-27")
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            None,
            error(-1003, "Too much.", 429, retryAfter=1_700_000_000_123),
            Outcome(REJECTED, "RATE_LIMIT", "Too much.", -1003, MINUTE, 1_700_000_000_123 * MS),
        ),
        (
            None,
            error(-1003, "Too much.", 418, serverTime=1_700_000_000_000, retryAfter=1_700_000_000_123),
            Outcome(REJECTED, "BAN", "Too much.", -1003, 123 * MS),
        ),
        (
            None,
            error(-1003, "Too much.", 429, serverTime=1_700_000_000_000, retryAfter=1_600_000_000_000),
            Outcome(REJECTED, "RATE_LIMIT", "Too much.", -1003, MS),
        ),
        (
            429,
            b'{"code":-1015,"msg":"Too many new orders."}',
            Outcome(REJECTED, "RATE_LIMIT", "Too many new orders.", -1015, MINUTE),
        ),
        (
            418,
            b'{"code":-1003,"msg":"Way too much; IP banned until 1660090423228. Please"}',
            Outcome(
                REJECTED,
                "BAN",
                "Way too much; IP banned until 1660090423228. Please",
                -1003,
                5 * MINUTE,
                1660090423228 * MS,
            ),
        ),
        (403, b'{"code":-2015,"msg":"no"}', Outcome(DOUBT, "UNLISTED", "no", -2015, MINUTE)),
        (
            429,
            b"<html>slow down</html>",
            Outcome(DOUBT, "UNREADABLE", "status 429 without the venue's JSON", shut_ns=60 * SECOND),
        ),
        (403, b"{}", Outcome(DOUBT, "UNREADABLE", "status 403 without the venue's JSON", shut_ns=MINUTE)),
        (
            503,
            b'{"code":-2010,"msg":"Market is closed."}',
            Outcome(DOUBT, "VENUE", "Market is closed.", -2010),
        ),
        (502, b"", Outcome(DOUBT, "UNREADABLE", "status 502 without the venue's JSON")),
        (200, b"", Outcome(DOUBT, "UNREADABLE", "status 200 without the venue's JSON")),
        (200, b"[1,", Outcome(DOUBT, "UNREADABLE", "a list that does not decode")),
        (302, b"{}", Outcome(DOUBT, "UNREADABLE", "status 302 without the venue's JSON")),
        (None, b'{"id":"1"}', Outcome(DOUBT, "UNREADABLE", "an answer without a status")),
        (None, b"\xff", Outcome(DOUBT, "UNREADABLE", "status None without the venue's JSON")),
    ],
)
def test_answer_when_it_is_a_gate_or_unreadable_then_only_the_venues_own_json_is_proof(
    status: int | None, body: bytes, expected: Outcome
) -> None:
    """429 and 418 with the venue's JSON are definite and say for how long; all else is in doubt."""
    assert outcome("create", status, body) == expected


def test_outcome_when_it_is_shown_then_the_class_comes_first() -> None:
    """`why` is one line for reasons and logs."""
    assert Outcome(REJECTED, "FUNDS", "Not enough.").why == "FUNDS: Not enough."
    assert Outcome(DOUBT, "TIMEOUT").why == "TIMEOUT"


@pytest.mark.failure("OR-27")
@given(
    op=st.sampled_from(["create", "cancel", "replace", "query", "subscribe"]),
    status=st.none() | st.integers(100, 599),
    body=st.binary(max_size=40)
    | st.builds(error, st.integers(-3000, 0), st.text(max_size=20), st.integers(100, 599)),
)
def test_outcome_when_anything_comes_then_it_is_total(op: Op, status: int | None, body: bytes) -> None:
    """No answer raises, and a definite one always carries a status of the venue's own."""
    found = outcome(op, status, body)
    if found.verdict is REJECTED:
        assert found.code is not None
    if status is not None and status >= 500:
        assert found.verdict is DOUBT


DOCUMENTED_DOUBT = {-1000, -1001, -1006, -1007, -1008, -1016}
# Not in the table: connections, sessions and subscriptions, which no create meets.
UNLISTED = {-1033, -1034, -1035, -2016, -2035, -2036, -2042, -2043}
AUTH = {-1002, -1022, -2014, -2015}
BY_TEXT = {-1013, -2010, -2011}


def expected_class(code: int) -> str:
    """Class the documentation's codes by the words of the table, not by its code."""
    if code in AUTH:
        return "AUTH"
    if code in DOCUMENTED_DOUBT:
        return "VENUE"
    if code in UNLISTED or code in BY_TEXT - {-1013}:
        return "UNLISTED"
    single = {-1111: "FILTER", -1021: "TIME", -2013: "UNKNOWN_ORDER", -2026: "ARCHIVED", -2039: "DEFECT"}
    if code in single:
        return single[code]
    if code in (-2021, -2022):
        return "LEGS"
    # Without 429 the silence that they ask for is not certain.
    if code in (-1003, -1015):
        return "UNLISTED"
    return "DEFECT"


def test_every_documented_code_when_it_answers_a_create_then_it_has_a_class(reference_data: Path) -> None:
    """All 104 codes of errors.md are classed, and none that is not listed is taken for a proof."""
    table = json.loads((reference_data / "wire-errors" / "binance_spot_error_codes.json").read_text())
    codes = [row["code"] for row in table["codes"]]
    assert len(codes) == len(set(codes)) >= 100
    found = {code: outcome("create", None, error(code)) for code in codes}
    assert {code: item.reason for code, item in found.items()} == {c: expected_class(c) for c in codes}
    definite = {item.reason for item in found.values() if item.verdict is REJECTED}
    assert definite == {"AUTH", "DEFECT", "FILTER", "TIME"}


def test_every_documented_text_when_it_refuses_then_it_has_a_class(reference_data: Path) -> None:
    """Filter failures are FILTER; the texts of -1010 and -2010 are definite but for two."""
    table = json.loads((reference_data / "wire-errors" / "binance_spot_error_codes.json").read_text())
    rows = table["message_tables"]
    filters = [row["message"] for row in rows if row["section"] == "Filter failures"]
    texts = [row["message"] for row in rows if row["section"] != "Filter failures"]
    assert {outcome("create", None, error(-1013, text)).reason for text in filters} == {"FILTER"}
    verdicts = {text: outcome("create", None, error(-2010, text)) for text in texts}
    assert [text for text, item in verdicts.items() if item.verdict is DOUBT] == [
        "Unknown order sent.",
        "Duplicate order sent.",
    ]
    assert "UNLISTED" not in {item.reason for item in verdicts.values()}


def test_observed_replies_when_they_are_read_then_they_have_the_class_that_users_met(
    reference_data: Path,
) -> None:
    """Real answers from public issues: a ban with its end, a filter, a clock."""
    lines = (reference_data / "wire-errors" / "observed_error_replies.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    replies = [row for row in rows if row["exchange"] == "binance_spot" and "body" in row]
    found = [outcome("create", row["http_status"], row["body"].encode()) for row in replies]
    assert [(item.reason, item.shut_until_ns) for item in found] == [
        ("BAN", 1660090423228 * MS),
        ("FILTER", None),
        ("TIME", None),
    ]

"""An order and its plan in words, as the command line shows them; instants are UTC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tradefan.units import DAY, iso

JSON = dict[str, Any]
ON_SCHEDULE = 0.01
"""Up to this share of the order it is neither called ahead nor behind."""


def sentence(order: JSON, now_ns: int) -> str:
    """Return an order in a line, with its forecast while it is at work."""
    words = [order["parent_id"], order["owner"], order["side"], order["order_qty"], order["symbol"]]
    words.append(order["algo"])
    words += ["at", order["limit_price"]] if order["limit_price"] is not None else []
    words[-1] += ":"
    words += [order["status"], order["phase"], "done", order["cum_qty"]]
    words += ["avg", order["avg_px"]] if order["avg_px"] is not None else []
    words += [f"({order['reason']})"] if order["reason"] else []
    return " ".join(words) + ("" if order["phase"] == "DONE" else f"; {forecast(order, now_ns)}")


def progress_line(order: JSON, now_ns: int) -> str:
    """Return how far an order has come, for a watch."""
    reason = f" ({order['reason']})" if order["reason"] else ""
    return f"{order['parent_id']} {order['status']} {order['phase']}{reason}: {forecast(order, now_ns)}"


def forecast(order: JSON, now_ns: int) -> str:
    """Return `42 %, on schedule +0.3 %, ends 14:05`, as far as it has a schedule and an end."""
    parts = [f"{100 * order['progress']:.0f} %"]
    error = order["schedule_error"]
    if error is not None:
        word = "on" if abs(error) <= ON_SCHEDULE else "ahead of" if error > 0 else "behind"
        parts.append(f"{word} schedule {100 * error:+.1f} %")
    if order["phase"] == "DONE":
        parts.append("ended")
    elif order["end_ns"] is not None:
        parts.append(f"ends {_clock(order['end_ns'], now_ns)}")
    return ", ".join(parts)


def _clock(at_ns: int, now_ns: int) -> str:
    """Return hours and minutes, with the day where it is another one."""
    text = iso(at_ns)
    return text[11:16] if at_ns // DAY == now_ns // DAY else f"{text[:10]} {text[11:16]}"


def plan_lines(plan: JSON) -> Iterator[str]:
    """Return the lines of a dry run."""
    n = "as volume comes" if plan["n"] is None else f"{plan['n']} decision{'' if plan['n'] == 1 else 's'}"
    end = "" if plan["end_ns"] is None else f" until {iso(plan['end_ns'])}"
    yield f"plan: {n} from {iso(plan['start_ns'])}{end}; nothing was created"
    for one in plan["slices"]:
        at = "then" if one["at_ns"] is None else iso(one["at_ns"])[11:]
        yield f"  {at:>13}  {one['quantity']:>14}  target {one['target_qty']}"
    share, cost = plan["expected_participation"], plan["estimate_bps"]
    yield f"expected participation: {'unknown' if share is None else f'{100 * share:.2f} %'}"
    yield f"estimated cost: {'unknown' if cost is None else f'{cost:.2f} bps'}"
    if plan["source"]:
        covered = "" if plan["coverage"] is None else f", {100 * plan['coverage']:.0f} % covered"
        yield f"volume curve: {plan['source']}{covered}"
    if plan["flags"]:
        yield f"flags: {', '.join(plan['flags'])}"

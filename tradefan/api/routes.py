"""Every route of the API, said once: the server serves this table, and the OpenAPI document tells it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from tradefan.api import answers as a
from tradefan.api import bodies as b
from tradefan.api import tca_answers as t
from tradefan.api.guard import CONTROL, KILL

Method = Literal["GET", "POST"]


class Route(Struct, frozen=True, kw_only=True):
    """One method of one path. `answers` are its good ones, with the type of their JSON (None: text)."""

    name: str
    method: Method
    path: str
    summary: str
    answers: dict[int, type[Struct] | None]
    body: type[b.Body] | None = None
    once: bool = False
    """Whether it takes an `Idempotency-Key`."""
    query: tuple[tuple[str, str], ...] = ()
    """What may stand behind the question mark: name and text."""
    failures: tuple[int, ...] = ()
    """What may go wrong beside what every route of its kind knows."""

    @property
    def control(self) -> bool:
        """Whether it needs the token."""
        return self.path.startswith(CONTROL)


def _get(
    name: str,
    path: str,
    summary: str,
    answer: type[Struct] | None,
    *failures: int,
    query: tuple[tuple[str, str], ...] = (),
) -> Route:
    return Route(
        name=name,
        method="GET",
        path=path,
        summary=summary,
        answers={200: answer},
        failures=failures,
        query=query,
    )


def _of_order(name: str, body: type[b.Body], summary: str) -> Route:
    path = f"/api/v1/orders/{{parent_id}}/{name}"
    return Route(
        name=name,
        method="POST",
        path=path,
        summary=summary,
        body=body,
        answers={202: a.OrderShown},
        once=True,
        failures=(404,),
    )


def _done(
    name: str, path: str, summary: str, body: type[b.Body], answer: type[Struct], *, once: bool = True
) -> Route:
    return Route(
        name=name, method="POST", path=path, summary=summary, body=body, answers={200: answer}, once=once
    )


ROUTES = (
    _get("health", "/health", "What runs", a.Health, 503),
    _get("ready", "/ready", "Whether orders can be placed on every feed", a.Ready, 503),
    _get("status", "/status", "Everything that one screen shows", a.Status),
    _get("metrics", "/metrics", "Prometheus metrics; absent with telemetry.metrics: false", None),
    _get("orders", "/api/v1/orders", "Open orders, and the newest that are done", a.Orders),
    Route(
        name="submit",
        method="POST",
        path="/api/v1/orders",
        summary="Submit an order; it is durable when this answers",
        body=b.OrderBody,
        answers={201: a.OrderShown, 200: a.OrderShown},
        once=True,
        failures=(410,),
    ),
    _done(
        "plan", "/api/v1/orders/plan", "How it would be worked: a dry run", b.OrderBody, a.Planned, once=False
    ),
    _get("order", "/api/v1/orders/{parent_id}", "One order with its children", a.OrderShown, 404),
    _get("tca", "/api/v1/orders/{parent_id}/tca", "What one order cost", t.OrderCosts, 404, 503),
    _get(
        "tcas",
        "/api/v1/tca",
        "What orders cost that have ended since then, and means",
        t.ManyCosts,
        422,
        503,
        query=(("since", "An instant, or for how long: 7d."),),
    ),
    _of_order("cancel", b.Body, "Cancel an order; the venue's word ends it"),
    _of_order("pause", b.PauseBody, "Let an order place nothing until it is resumed"),
    _of_order("amend", b.AmendBody, "Change quantity, limit, end, display or trigger price of an order"),
    _of_order("resume", b.Body, "Let a paused order go on"),
    _done(
        "resolve", "/api/v1/orders/{id}/resolve", "End what only a human may end", b.ResolveBody, a.Resolved
    ),
    _done(
        "assign",
        "/api/v1/positions/assign",
        "Move a quantity to another owner",
        b.AssignBody,
        a.Assigned,
    ),
    _done("kill", KILL, "Let nothing new leave, and cancel what rests", b.KillBody, a.Killed, once=False),
    _done("open_scope", "/api/v1/resume", "Open a killed scope again", b.ResumeBody, a.Resumed),
    _get("strategies", "/api/v1/strategies", "The strategy instances", a.Strategies),
    _get("plugins", "/api/v1/plugins", "Algorithms, parts and strategies, with their settings", a.Plugins),
    _get("openapi", "/api/v1/openapi.json", "This document", a.Document),
)

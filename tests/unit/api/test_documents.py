"""What the API says of itself: its OpenAPI document, and all that is registered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

import tradefan.core.contingent
import tradefan.core.group
import tradefan.executors
import tradefan.strategies
from tests.unit.api.bench import CONTROL, Start
from tradefan.api.openapi import document
from tradefan.api.routes import ROUTES
from tradefan.contracts import Kind, plugins

SHIPPED = (
    tradefan.executors.__name__,
    tradefan.strategies.__name__,
    tradefan.core.contingent.__name__,
    tradefan.core.group.__name__,
)
PATH_PARAMETER = re.compile(r"{(\w+)}")


def references(value: Any) -> Iterator[str]:
    """Return every reference inside a value."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_document_when_served_then_it_names_every_route_and_no_other(start: Start) -> None:
    """What is served is the table, and what is told is the table: held against the server itself."""
    web = await start()
    status, shown = await web.call("GET", "/api/v1/openapi.json", headers=CONTROL)
    served = {
        (route.resource.canonical, route.method.lower())
        for app in [web.daemon.link._app]
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    told = {(path, method) for path, methods in shown["paths"].items() for method in methods}
    assert (status, told) == (200, served)
    assert shown["openapi"] == "3.1.0"


def test_document_when_read_then_it_is_whole() -> None:
    """OpenAPI 3.1: references resolve, ids are unique, path parameters are declared, answers described."""
    whole = document()
    known = whole["components"]["schemas"]
    assert {f"#/components/schemas/{name}" for name in known} >= set(references(whole))
    assert {"title", "version"} <= set(whole["info"])
    names = [operation["operationId"] for _, _, operation in operations()]
    assert sorted(names) == sorted({*names}) == sorted(route.name for route in ROUTES)
    for path, method, operation in operations():
        where = f"{method} {path}"
        declared = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
        assert declared == PATH_PARAMETER.findall(path), where
        assert all(answer["description"] for answer in operation["responses"].values()), where
        assert any(status.startswith("2") for status in operation["responses"]), where
        assert ("requestBody" in operation) is (method == "post"), where
        assert ("security" in operation) is path.startswith("/api/"), where
        assert "Retry-After" in operation["responses"]["429"]["headers"], where


def test_document_when_an_order_is_described_then_by_the_types_that_read_and_write_it() -> None:
    """Every key of a body with its bounds; a parent's names are those of DOMAIN.md."""
    known = document()["components"]["schemas"]
    body = known["OrderBody"]
    assert set(body["required"]) == {"symbol", "side"}
    assert body["additionalProperties"] is False
    assert body["properties"]["side"] == {"enum": ["buy", "sell"]}
    promised = """
        parent_id account instrument symbol owner ref status phase reason side algo order_qty cum_qty
        leaves_qty working_qty in_doubt_qty avg_px limit_price created_ns start_ns end_ns progress
        schedule_error children
    """
    names = promised.split()
    # What stands behind them is of contingent orders.
    assert list(known["Order"]["properties"])[: len(names)] == names


@pytest.mark.parametrize("route", [route for route in ROUTES if route.once], ids=lambda route: route.name)
def test_document_when_a_call_is_done_once_then_it_names_the_header_and_409(route: Any) -> None:
    """Everything that does something but a kill, which asks for nothing."""
    operation = document()["paths"][route.path]["post"]
    assert "Idempotency-Key" in [one["name"] for one in operation["parameters"]]
    assert "409" in operation["responses"]


async def test_plugins_when_asked_then_all_that_is_registered_with_schemas_defaults_and_units(
    start: Start,
) -> None:
    """A form for an algorithm can be made of it."""
    web = await start()
    status, shown = await web.call("GET", "/api/v1/plugins", headers=CONTROL)
    kinds: dict[tuple[str, str], dict[str, Any]] = {
        (one["kind"], one["name"]): one for one in shown["plugins"]
    }
    registered = {(kind, plugin.name) for kind in get_args(Kind) for plugin in plugins(kind)}
    assert (status, set(kinds)) == (200, registered)
    assert {("executor", "twap"), ("tactic", "peg"), ("strategy", "rebalance")} <= registered
    twap = kinds["executor", "twap"]
    assert twap["text"]
    (schema,) = [part for name, part in twap["settings"]["$defs"].items() if "interval" in part["properties"]]
    collar = schema["properties"]["collar_bps"]
    assert (collar["default"], collar["x-unit"]) == ("50", "bps")
    assert collar["description"]
    assert schema["properties"]["slices"]["x-unit"] == "count"


KINDS: dict[Kind, tuple[str, ...]] = {
    "executor": ("market", "limit", "twap", "vwap", "pov", "iceberg"),
    "trigger": ("stop", "stop_limit", "take_profit", "trailing"),
    "group": ("oco", "bracket"),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_plugins_when_an_algorithm_has_a_setting_then_its_unit_and_meaning_are_said(
    kind: Kind, name: str
) -> None:
    """The one source of docs and forms; a part of settings says it of its own."""
    (plugin,) = [one for one in plugins(kind) if one.name == name]
    schema = plugin.schema()
    for part in schema["$defs"].values():
        for key, field in part["properties"].items():
            assert {"description", "x-unit"} <= set(field), f"{name} {key}"

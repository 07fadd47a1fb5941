"""The OpenAPI 3.1 document: made from the table of routes and the types of bodies and answers."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import msgspec

from tradefan import __version__
from tradefan.api.answers import Failure
from tradefan.api.control import KEY_HEADER
from tradefan.api.routes import ROUTES, Route

JSON = dict[str, Any]
_REF = "#/components/schemas/{name}"
_ALWAYS = (403, 429, 503)
_CONTROL = (401,)
_BODY = (400, 408, 413, 415, 422, 504)
_ONCE = (409,)
_TEXTS = {
    401: "The token is missing or wrong",
    403: "Another host or origin",
    408: "The body did not come in time",
    409: "The key, or the ref, was used for something else",
    410: "It was taken before, has ended, and left memory",
    413: "The body is larger than api.body_max",
    422: "Refused, with what would pass",
    429: "More than api.requests_per_second; see Retry-After",
    503: "Not ready",
    504: "No answer in time: its outcome is unknown",
}


def document() -> JSON:
    """Return the document; what is not said by a type or the table stands here."""
    types: dict[type[msgspec.Struct], None] = {Failure: None}
    for route in ROUTES:
        types |= dict.fromkeys([kind for kind in (route.body, *route.answers.values()) if kind is not None])
    schemas, components = msgspec.json.schema_components(tuple(types), ref_template=_REF)
    known = dict(zip(types, schemas, strict=True))
    paths: dict[str, JSON] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "TradeFan",
            "version": __version__,
            "description": "Control and pictures of one daemon. Decimals are strings, instants ns of UTC.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, known: dict[Any, JSON]) -> JSON:
    operation: JSON = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {
            **{str(status): _answer(status, kind, known) for status, kind in route.answers.items()},
            **{str(status): _failure(status, route, known) for status in _failures(route)},
        },
    }
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not None:
        content = {"application/json": {"schema": known[route.body]}}
        operation["requestBody"] = {"required": _requires(route.body), "content": content}
    if route.control:
        operation["security"] = [{"token": []}]
    return operation


def _requires(body: type[msgspec.Struct]) -> bool:
    """Say whether a body has to say anything."""
    return any(field.required for field in msgspec.structs.fields(body))


def _parameters(route: Route) -> list[JSON]:
    names = re.findall(r"{(\w+)}", route.path)
    found: list[JSON] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    found += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in route.query
    ]
    if route.once:
        text = "Asked again within 24 h the same call gives the first answer; another one is 409."
        schema = {"type": "string", "minLength": 1, "maxLength": 64}
        found.append({"name": KEY_HEADER, "in": "header", "description": text, "schema": schema})
    return found


def _failures(route: Route) -> list[int]:
    found = {*_ALWAYS, *route.failures}
    if route.control:
        found.update(_CONTROL)
    if route.body is not None:
        found.update(_BODY)
    if route.once or route.name == "submit":
        found.update(_ONCE)
    return sorted(found)


def _answer(status: int, kind: Any, known: dict[Any, JSON]) -> JSON:  # noqa: ANN401 a type, or None
    content = (
        {"text/plain": {"schema": {"type": "string"}}}
        if kind is None
        else {"application/json": {"schema": known[kind]}}
    )
    return {"description": HTTPStatus(status).phrase, "content": content}


def _failure(status: int, route: Route, known: dict[Any, JSON]) -> JSON:
    """Return a failure; /health and /ready say with their own type what is down, or with the usual one."""
    schema = known[Failure]
    if status in route.failures and not route.control:
        schema = {"anyOf": [*(known[kind] for kind in route.answers.values() if kind is not None), schema]}
    text = _TEXTS.get(status, HTTPStatus(status).phrase)
    failure: JSON = {"description": text, "content": {"application/json": {"schema": schema}}}
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        failure["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return failure

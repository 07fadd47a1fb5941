"""What stands in place of an InfluxDB 1.x, asked: an outage that shows what it said."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tradefan.errors import Outage
from tradefan.stores.influx import InfluxSettings
from tradefan.stores.influx_rows import InfluxRows
from tradefan.stores.queries import Question


async def fills(status: int, body: Any) -> Sequence[Any]:
    """Ask a server for fills that answers so."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    app = web.Application()
    app.router.add_post("/query", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        settings = InfluxSettings(str(server.make_url("/")), "tradefan", 5.0)
        return await InfluxRows(settings).rows(Question("fills"))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"code": "unauthorized", "message": "no"}, 'got HTTP 401 \'{"code": "unauthorized"'),
        (200, [], "got HTTP 200 '[]'"),
        (200, {"results": []}, "got HTTP 200 '{\"results\": []}'"),
        (200, {"results": [{"series": [{"name": "fills"}]}]}, 'got HTTP 200 \'{"results"'),
        (502, "<html>" + "x" * 1000, "got HTTP 502 '<html>" + "x" * 194 + "'"),
        (401, {"error": "authorization failed"}, ": authorization failed"),
        (200, {"results": [{"error": "database not found: x"}]}, ": database not found: x"),
    ],
)
async def test_influx_when_it_answers_something_else_then_an_outage_shows_it(
    status: int, body: Any, words: str
) -> None:
    """Status and the beginning of the body: what InfluxDB 2 or a proxy says is no defect of ours."""
    with pytest.raises(Outage, match=re.escape(words)):
        await fills(status, body)


async def test_influx_when_it_has_no_such_rows_then_none() -> None:
    """A result without series."""
    assert await fills(200, {"results": [{"statement_id": 0}]}) == []

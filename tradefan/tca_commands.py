"""`tradefan tca`: what one order cost, drawn or as a page, and means over many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import typer

from tradefan.client import FAILED, NOT_RUNNING, Client, Unanswered, read_token
from tradefan.errors import Refused
from tradefan.terminal import AsJson, ConfigDir, Env, Url, address, fail, instant, print_json, program
from tradefan.units import plain

RESULTS = Path("results")
HTTP_NOT_FOUND = 404


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(tca)


def tca(
    parent_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="an order; without one: means over many")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="T", help="ended since an instant, or for 7d")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="write one page into results/")] = False,
    env: Env = "development",
    config: ConfigDir = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what orders have cost: one, or means by algorithm, instrument and venue."""
    if (parent_id is None) == (since is None):
        raise Refused("BAD_TCA", "expected the ID of an order, or --since, such as 7d")
    if html and parent_id is None:
        raise Refused("BAD_TCA", "--html draws one order: name its ID")
    if parent_id is None:
        assert since is not None
        _show_many(_costs_since(since, env, config, url), as_json=as_json)
        return
    if not (parent_id.isalnum() and parent_id.isascii()):
        raise Refused("BAD_ID", f"expected an order's id of letters and digits, got {parent_id!r}")
    _show_one(_costs_of(parent_id, env, config, url), html=html, as_json=as_json)


def _show_one(found: dict[str, Any], *, html: bool, as_json: bool) -> None:
    from tradefan.tca_html import page
    from tradefan.tca_terminal import drawing

    if as_json:
        print_json(found)
    if html:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"tca-{found['parent_id']}.html"
        path.write_text(page(found), encoding="utf-8")
        if not as_json:
            print(path)
    elif not as_json:
        from rich.console import Console

        Console(highlight=False).print(drawing(found), soft_wrap=True)


def _show_many(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    from tradefan.tca_terminal import means

    Console(highlight=False).print(means(found), soft_wrap=True)


# --- where it comes from ------------------------------------------------------------------------------------


def _costs_of(parent_id: str, env: str, config: Path | None, url: str | None) -> dict[str, Any]:
    """Ask the running daemon for one order, or the store where none runs."""
    client = _daemon(env, config, url)
    if client is None:
        from tradefan.tca_store import detail_of, read_store

        with read_store(_store(env, config)) as store:
            found = _plain(detail_of(store, parent_id))
        if found is None:
            fail(f"no order {parent_id} in {_store(env, config)}", FAILED)
        return found  # type: ignore[no-any-return]
    try:
        return client.get(f"/api/v1/orders/{parent_id}/tca")  # type: ignore[no-any-return]
    except Unanswered as error:
        if error.status == HTTP_NOT_FOUND:
            raise Unanswered(FAILED, str(error)) from error
        raise


def _costs_since(since: str, env: str, config: Path | None, url: str | None) -> dict[str, Any]:
    """Ask likewise for all that ended since then."""
    from_ns = instant("--since", since)
    client = _daemon(env, config, url)
    if client is not None:
        return client.get(f"/api/v1/tca?since={quote(since)}")  # type: ignore[no-any-return]
    from tradefan.tca_store import costs_since, read_store

    with read_store(_store(env, config)) as store:
        return _plain(costs_since(store, from_ns))  # type: ignore[no-any-return]


def _daemon(env: str, config: Path | None, url: str | None) -> Client | None:
    """Return how to ask the daemon that was named, or that runs; None where none does."""
    from tradefan.environment import find_places

    if named := address(url):
        return Client(named, lambda: read_token(find_places(env, config).token))
    places = find_places(env, config)
    running = places.running()
    return None if running is None else Client(running.url, lambda: read_token(places.token))


def _store(env: str, config: Path | None) -> Path:
    from tradefan.environment import find_places

    places = find_places(env, config)
    if not places.store.exists():
        text = f"no daemon runs in {places.root}, and no store is there; start one: {program()} run -e {env}"
        fail(text, NOT_RUNNING)
    return places.store


def _plain(value: Any) -> Any:  # noqa: ANN401 JSON
    """Return what the API would answer: exact numbers as texts."""
    return orjson.loads(orjson.dumps(value, default=plain))

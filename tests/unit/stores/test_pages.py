"""What docs say of stored kinds, tags and columns is what the registries say."""

from __future__ import annotations

import re
from pathlib import Path

from tradefan.stores.influx_bodies import PROGRESS
from tradefan.stores.queries import SHAPES
from tradefan.stores.schema import MEASUREMENTS

DOCS = Path(__file__).resolve().parents[3] / "docs"
OPTIONS = {"symbol": "instrument"}


def rows(page: str, head: str) -> list[list[str]]:
    """Return the cells of the table of a page that begins with this head."""
    _, _, rest = (DOCS / page).read_text(encoding="utf-8").partition(f"{head}\n")
    lines = rest.split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_page_of_influx_when_read_then_each_measurement_has_its_tags() -> None:
    """In the order of the registry's own words, none left out and none made up."""
    found = {
        name.strip("`"): tags.split(", ")
        for name, tags, _ in rows("influx.md", "| measurement | tags | a point is |")
    }
    assert found == {table.name: list(table.tags) for table in MEASUREMENTS.values()}


def test_page_of_influx_when_read_then_each_measurement_is_said_to_be_lost_or_not() -> None:
    """What the journal gives again, what goes first and what goes next are all there is."""
    _, _, text = (DOCS / "influx.md").read_text(encoding="utf-8").partition("## When the server is away")
    lost, kept = (
        set(re.findall(r"`(\w+)`", part)) for part in text.split("and are not lost")[0].split("\n\n")[1:3]
    )
    assert lost - {PROGRESS} | kept == {table.name for table in MEASUREMENTS.values()}


def test_page_of_data_when_read_then_each_kind_has_its_options_and_columns() -> None:
    """What names rows, and what an answer has."""
    head = "| kind | chosen by | columns |"
    found = {
        name.strip("`"): (options, columns.strip("`").split())
        for name, options, columns in rows("data.md", head)
    }
    assert found.keys() == SHAPES.keys()
    for kind, shape in SHAPES.items():
        options, columns = found[kind]
        named = [OPTIONS.get(one, one) for one in re.findall(r"--(\w+)", options)]
        extra = ["source"] if kind == "bars" else []
        assert sorted(named) == sorted([*shape.filters, *extra]), kind
        assert columns == [*shape.columns, *extra], kind

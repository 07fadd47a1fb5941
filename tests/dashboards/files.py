"""The dashboards as files of config/grafana; a test holds them to the texts beside this file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.dashboards.panels import JSON
from tests.dashboards.reading import dashboards

FOLDER = Path(__file__).resolve().parents[2] / "config" / "grafana" / "dashboards"


def files() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {f"{one.uid}.json": _text(one.json()) for one in dashboards()}


def _text(dashboard: JSON) -> str:
    """Return it with each panel on a line, so that a change shows what it has changed."""
    panels = ",\n".join(f"  {json.dumps(panel)}" for panel in dashboard["panels"])
    rest = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in dashboard.items() if key != "panels")
    return "{\n" + ",\n".join([*rest, f' "panels": [\n{panels}\n ]']) + "\n}\n"

"""Which modules are pure, said once for the tests of floors, bans and coverage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tradefan"

PURE = (
    "actors",
    "config",
    "contracts",
    "core",
    "drivers.replay",
    "drivers.virtual",
    "errors",
    "execution",
    "executors",
    "messages",
    "risk",
    "runtime",
    "setting",
    "spans",
    "strategies",
    "strategy",
    "units",
    "venues",
    "wiring",
)
"""Modules and packages under `tradefan`; those of later stages are named before they exist."""

IMPURE = (
    "__main__",
    "api",
    "cli",
    "client",
    "commands",
    "config_commands",
    "config_files",
    "config_versions",
    "daemon",
    "data_commands",
    "data_dir",
    "drivers",
    "environment",
    "exchange",
    "flight",
    "handle",
    "host",
    "infra",
    "infra_data",
    "infra_monitoring",
    "infra_orders",
    "instruments",
    "links",
    "logs",
    "market_tape",
    "new_feeds",
    "metric_registry",
    "metrics",
    "notifiers",
    "order_commands",
    "order_text",
    "outlets",
    "probe",
    "query_commands",
    "rehearsal",
    "reload",
    "replay",
    "replay_commands",
    "scaffold",
    "screen",
    "self_test",
    "service_manager",
    "status",
    "status_rows",
    "stores",
    "tca_commands",
    "tca_html",
    "tca_rows",
    "tca_store",
    "tca_terminal",
    "tca_words",
    "terminal",
    "views",
)
"""May touch asyncio, threads, sockets, files or the clock. Of the drivers, only the virtual ones may not."""

NEITHER = ("__init__", "recordings", "sim", "telemetry", "testing")
"""No code of the daemon's core: the version, packaged frames, the simulated world (seeded chance, SQLite on a
simulated disk), the observer, and what authors test with."""


def module_name(path: Path) -> str:
    """`tradefan/core/book.py` is `core.book`, and a package is its own `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def under(module: str, roots: tuple[str, ...]) -> bool:
    """Tell whether a module is one of the roots or lies in one."""
    return any(module == root or module.startswith(root + ".") for root in roots)


def package_files() -> Iterator[Path]:
    """All modules of the product."""
    yield from sorted(PACKAGE.rglob("*.py"))


def pure_files() -> Iterator[Path]:
    """All modules that must stay pure."""
    return (path for path in package_files() if under(module_name(path), PURE))

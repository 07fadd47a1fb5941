"""Makes `tradefan/core/packaged_curve.py` from klines: `python -m tests.packaged_curve`.

From the MIT-licensed klines of Binance USD-M alone (typhonun/DcaTpStrategy at 49129d48).
"""

from __future__ import annotations

import csv
import lzma
import os
from pathlib import Path

from tradefan.core.curve import Levels, levels
from tradefan.units import MINUTE, MS

MADE = Path(__file__).resolve().parents[1] / "tradefan" / "core" / "packaged_curve.py"
FILES = {
    "BTC": "binance_usdm_BTCUSDT_1m_20250504_20250603.csv.xz",
    "ETH": "binance_usdm_ETHUSDT_1m_20250504_20250615.csv.xz",
}
BUCKET_NS = 5 * MINUTE
SCALE = 1_000
HEAD = '''\
"""The packaged volume curve: what share of a day each five minutes have, for whom nothing better is known.

Levels in thousandths of their day's mean, of a weekday and of a day at the weekend, from the first bucket of
the UTC day. They say how volume is spread, not how much it is. Written by `python -m tests.packaged_curve`,
never by hand, from klines of Binance USD-M perpetuals (BTCUSDT and ETHUSDT, 1m, 2025-05-04 to 2025-06-15;
typhonun/DcaTpStrategy at 49129d48, MIT License, Copyright (c) 2025 typhonun).
"""

from __future__ import annotations

BUCKET_NS = 300_000_000_000
DAYS = 31
CURVES: dict[str, tuple[str, str]] = {
'''


def read(path: Path) -> Levels:
    """Return the levels of a file of klines."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        rows = [(int(row["open_time_ms"]) * MS, float(row["volume"])) for row in csv.DictReader(file)]
    found = levels(rows, BUCKET_NS, days_min=14, bucket_days_min=4)
    assert found is not None, f"expected two weeks of klines in {path}"
    return found


def render(folder: Path) -> str:
    """Return the module as text, laid out as the formatter does."""
    parts = [HEAD]
    for base, name in FILES.items():
        found = read(folder / name)
        parts.append(f'    "{base}": (\n')
        for values in (found.weekday, found.weekend):
            known = [value for value in values if value is not None]
            assert len(known) == len(values)
            mean = sum(known) / len(known)
            words = [str(round(value / mean * SCALE)) for value in known]
            rows = (" ".join(words[i : i + 18]) for i in range(0, len(words), 18))
            numbers = "\n".join(rows)
            parts.append(f'        """\n{numbers}\n""",\n')
        parts.append("    ),\n")
    parts.append("}\n")
    return "".join(parts)


def main() -> None:
    """Write the module."""
    folder = Path(os.environ["TRADEFAN_REFERENCE_DATA"]) / "klines"
    MADE.write_text(render(folder), encoding="utf-8")


if __name__ == "__main__":
    main()

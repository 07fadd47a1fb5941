"""`tradefan data show` on a screen: every number whole."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from tradefan.query_commands import _shown, _table
from tradefan.stores.columns import Columns


def test_table_when_wider_than_the_screen_then_nothing_is_cut_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of an id or of a price is worse than a line that wraps."""
    monkeypatch.setenv("COLUMNS", "40")
    names = np.array(["pabcdefghijklmnop"], dtype=object)
    _table(Columns({f"order_{number}": names for number in range(9)}))
    assert capsys.readouterr().out.count("pabcdefghijklmnop") == 9


@pytest.mark.parametrize(
    ("value", "text"), [("0E-20", "0"), ("0.01000000", "0.01"), ("1E+3", "1000"), ("-0.0050", "-0.005")]
)
def test_cell_when_money_then_it_is_written_plainly(value: str, text: str) -> None:
    """As JSON and files have it."""
    assert _shown("qty", Decimal(value)) == text

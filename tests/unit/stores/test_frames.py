"""Answers as frames of pandas and polars: the environment of the tests has both, others may not."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tradefan.query_commands import _write_parquet
from tradefan.stores.columns import Columns, columns_of

NAMES = ("at_ns", "qty", "owner", "value", "ok", "lsn")
ROWS: tuple[tuple[Any, ...], ...] = (
    (1, "1.50", "x", 0.5, 1, 7),
    (2, None, None, None, 0, None),
    (3, "0.000000000000000001", "z", 1.5, 1, 9),
)


def answer(rows: Any = ROWS, *, exact: bool = False) -> Columns:
    return columns_of(NAMES, ("int", "decimal", "text", "float", "bool", "int"), rows, exact=exact)


def test_pandas_when_asked_for_then_columns_keep_their_kinds_and_holes() -> None:
    """`.df` is the same; what is absent is what pandas takes for absent."""
    pandas = pytest.importorskip("pandas")
    frame = answer().df
    assert isinstance(frame, pandas.DataFrame)
    assert [*frame.columns] == [*NAMES]
    assert [frame[name].dtype.kind for name in ("at_ns", "qty", "value", "ok", "lsn")] == [*"iffbf"]
    assert frame.isna().sum().to_dict() == {"at_ns": 0, "qty": 1, "owner": 1, "value": 1, "ok": 0, "lsn": 1}
    assert frame["qty"].tolist()[::2] == [1.5, 1e-18]
    assert answer(exact=True).to_pandas()["qty"].tolist() == [Decimal("1.50"), None, Decimal("1E-18")]
    assert (len(answer([]).df), [*answer([]).df.columns]) == (0, [*NAMES])


def test_polars_when_asked_for_then_columns_keep_their_kinds_and_holes() -> None:
    """Numbers as NumPy has them; text is text, also where none is there."""
    polars = pytest.importorskip("polars")
    kinds = [polars.Int64, polars.Float64, polars.String, polars.Float64, polars.Boolean, polars.Float64]
    assert answer().to_polars().dtypes == kinds
    assert answer().to_polars()["owner"].to_list() == ["x", None, "z"]
    assert np.isnan(answer().to_polars()["qty"][1])
    empty = answer([]).to_polars()
    # What has no row has no hole in its column of whole numbers.
    assert (len(empty), empty.dtypes) == (0, [*kinds[:-1], polars.Int64])


@pytest.mark.parametrize(
    "texts",
    [
        ["1.50", None, "0.000000000000000001"],
        ["123456789012345", "-0.00000000000000000000001"],
        ["0", "0.0", "-7"],
        # Twenty-eight digits that a division left behind a sum of many.
        ["123456789012", "0.0000012345678901234567890123456789"],
        [None, None],
    ],
    ids=str,
)
def test_parquet_when_written_then_read_back_exactly(tmp_path: Path, texts: list[str | None]) -> None:
    """As Decimals, and as text where a column has more digits than polars."""
    polars = pytest.importorskip("polars")
    found = columns_of(("qty",), ("decimal",), [(one,) for one in texts], exact=True)
    _write_parquet(found, tmp_path / "found.parquet")
    read = polars.read_parquet(tmp_path / "found.parquet")["qty"].to_list()
    assert [None if one is None else Decimal(one) for one in read] == found["qty"].tolist()


def test_influx_when_imported_then_the_daemon_loads_no_pandas_and_a_notebook_keeps_its_own() -> None:
    """The client library would take it where it is: 46 MB of a daemon that never asks for a frame."""
    pytest.importorskip("pandas")
    for program, said in (
        (
            "import tradefan.stores.influx; print('pandas' in sys.modules); import pandas; print(pandas.NaT)",
            "False\nNaT\n",
        ),
        ("import pandas, tradefan.stores.influx; print(sys.modules['pandas'] is pandas)", "True\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; {program}"], capture_output=True, text=True, check=True
        )
        assert (done.stdout, done.stderr) == (said, "")

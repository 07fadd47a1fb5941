"""The answer to a query: columns of equal length in order of time, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tradefan.errors import Outage
from tradefan.units import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

Form = Literal["int", "float", "decimal", "bool", "text", "json"]
"""What a column holds, as the store's registry says it."""
_POLARS_DIGITS = 38


class Columns(Mapping[str, Any]):
    """Columns by name. Times are int64 ns since 1970 (UTC); absent numbers are NaN, absent texts None.

    Money and quantities are float64, which computes; asked for with `exact` they are Decimals.
    Arrays are read-only: who asks the same again within a moment is given these. Change a copy.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Take arrays of one length."""
        lengths = {len(column) for column in columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"expected columns of one length, got {sorted(lengths)}")
        self._columns = dict(columns)
        for column in self._columns.values():
            column.flags.writeable = False
        self._length = lengths.pop() if lengths else 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return one column."""
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        """Give the names of the columns."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Count the rows."""
        return self._length

    def __bool__(self) -> bool:
        """Say whether there are rows."""
        return self._length > 0

    def __repr__(self) -> str:
        """Say what it holds."""
        return f"<{self._length} rows of {', '.join(self._columns)}>"

    def __eq__(self, other: object) -> bool:
        """Compare column by column; what is absent in both is equal."""
        if not isinstance(other, Columns) or [*self] != [*other] or len(self) != len(other):
            return False
        return all(_same(self[name], other[name]) for name in self)

    __hash__ = None  # type: ignore[assignment]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give the rows as dicts of plain values, the oldest first."""
        lists = [column.tolist() for column in self._columns.values()]
        for values in zip(*lists, strict=True):
            yield dict(zip(self._columns, values, strict=True))

    @property
    def df(self) -> Any:  # noqa: ANN401 of a library that may be absent
        """The same as `to_pandas()`."""
        return self.to_pandas()

    def to_pandas(self) -> Any:  # noqa: ANN401
        """Return a pandas DataFrame.

        Raises:
            Outage: pandas is not installed.
        """
        return _library("pandas").DataFrame(self._columns)

    def to_polars(self) -> Any:  # noqa: ANN401
        """Return a polars DataFrame.

        Raises:
            Outage: polars is not installed.
        """
        polars = _library("polars")
        return polars.DataFrame({name: _series(polars, column) for name, column in self._columns.items()})


def columns_of(
    names: Sequence[str], forms: Sequence[Form], rows: Sequence[Sequence[Any]], *, exact: bool
) -> Columns:
    """Return rows as columns; `forms` say what each holds."""
    by_column = [*zip(*rows, strict=True)] if rows else [() for _ in names]
    made = (_array(form, values, exact=exact) for form, values in zip(forms, by_column, strict=True))
    return Columns(dict(zip(names, made, strict=True)))


def _array(form: Form, values: Sequence[Any], *, exact: bool) -> NDArray[Any]:
    if form == "decimal" and exact:
        return _objects(None if value is None else Decimal(value) for value in values)
    if form in ("float", "decimal"):
        return np.array([np.nan if value is None else float(value) for value in values], np.float64)
    if form == "int" and None not in values:
        return np.array(values, np.int64)
    if form == "int":
        return np.array([np.nan if value is None else float(value) for value in values], np.float64)
    if form == "bool":
        return np.array(values, np.bool_)
    return _objects(values)


def _objects(values: Any) -> NDArray[Any]:  # noqa: ANN401 of whatever kind
    listed = list(values)
    array = np.empty(len(listed), object)
    array[:] = listed
    return array


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype != other.dtype:
        return False
    if one.dtype == np.float64:
        return bool(np.array_equal(one, other, equal_nan=True))
    return bool(np.array_equal(one, other))


def _series(polars: Any, column: NDArray[Any]) -> Any:  # noqa: ANN401
    """Return a column as polars has it: what is text is so also where none is there.

    Its Decimals have 38 digits in all. Where a column needs more they are text, which cuts nothing off.
    """
    if column.dtype != object:
        return column
    values = column.tolist()
    decimals = [one for one in values if isinstance(one, Decimal)]
    if not decimals:
        return polars.Series(values, dtype=polars.String)
    whole = max(one.adjusted() + 1 for one in decimals)
    scale = max(len(plain(one).partition(".")[2]) for one in decimals)
    if max(whole, 0) + scale > _POLARS_DIGITS:
        return polars.Series([None if one is None else plain(one) for one in values], dtype=polars.String)
    return polars.Series(values, dtype=polars.Decimal(_POLARS_DIGITS, scale))


def _library(name: str) -> Any:  # noqa: ANN401
    try:
        return __import__(name)
    except ImportError as missing:
        raise Outage(f"{name} is not installed here: pip install {name}") from missing

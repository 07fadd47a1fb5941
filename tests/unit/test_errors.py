"""Tracebacks: the same text wherever the program lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradefan.errors import traceback_of
from tradefan.units import parse_duration

ROOT = str(Path(__file__).resolve().parents[2])


def test_traceback_when_it_leads_through_our_files_then_these_have_no_folder() -> None:
    """It is journaled: a longer path would be more bytes, other disk calls, and another run of a seed."""
    with pytest.raises(Exception, match=r".") as raised:
        parse_duration("no duration")
    text = traceback_of(raised.value)
    assert 'File "tradefan/units.py", line ' in text
    assert f"{ROOT}/tradefan" not in text

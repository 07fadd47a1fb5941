"""The page of an order's costs in a real browser: drawn in both colour schemes."""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections import Counter
from pathlib import Path

import pytest

from tests.services.server import require
from tests.unit.test_tca_faces import detail
from tradefan.tca_html import page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH, HEIGHT = 1_000, 1_700
PAGES = {"light": (255, 255, 255), "dark": (13, 17, 23)}
"""The page's ground in each scheme."""
DRAWN = {
    "light": {"done": (9, 105, 218), "target": (154, 103, 0), "maker": (26, 127, 55), "cost": (207, 34, 46)},
    "dark": {
        "done": (88, 166, 255),
        "target": (210, 153, 34),
        "maker": (63, 185, 80),
        "cost": (255, 123, 114),
    },
}


@pytest.fixture(scope="module")
def browser() -> str:
    """Return a Chromium; a machine without one skips, one that promises servers fails."""
    return require(*NAMES)


def pixels(path: Path) -> Counter[tuple[int, int, int]]:
    """Return how often each colour is in a PNG of 8 bits a channel (RFC 2083)."""
    raw = path.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts, width, channels = 8, b"", 0, 3
    while at < len(raw):
        length, kind = struct.unpack(">I4s", raw[at : at + 8])
        body = raw[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, _, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour in (2, 6)) == (8, True)
            channels = 3 if colour == 2 else 4
        elif kind == b"IDAT":
            parts += body
        at += 12 + length
    return _counted(zlib.decompress(parts), width, channels)


def _counted(data: bytes, width: int, channels: int) -> Counter[tuple[int, int, int]]:
    stride, before = width * channels, bytearray(width * channels)
    found: Counter[tuple[int, int, int]] = Counter()
    for start in range(0, len(data), stride + 1):
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + stride])
        for i in range(stride):
            left = row[i - channels] if i >= channels else 0
            above, corner = before[i], before[i - channels] if i >= channels else 0
            row[i] = (row[i] + _guess(kind, left, above, corner)) & 255
        found.update(zip(row[0::channels], row[1::channels], row[2::channels], strict=True))
        before = row
    return found


def _guess(kind: int, left: int, above: int, corner: int) -> int:
    """Return what a row's filter adds (RFC 2083, part 6)."""
    if kind == 4:
        away = [(abs(left + above - corner - one), one) for one in (left, above, corner)]
        return min(away, key=lambda pair: pair[0])[1]
    return (0, left, above, (left + above) // 2)[kind]


@pytest.mark.slow
@pytest.mark.service
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_when_a_browser_opens_it_then_all_is_drawn_in_the_scheme_of_its_reader(
    browser: str, tmp_path: Path, scheme: str
) -> None:
    """The ground is that of the scheme, and target, done, fills and costs are there in its colours."""
    file, shot = tmp_path / "page.html", tmp_path / "shot.png"
    file.write_text(page(detail()), encoding="utf-8")
    words = [
        browser,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={WIDTH},{HEIGHT}",
        f"--screenshot={shot}",
    ]
    if scheme == "dark":
        words.append("--blink-settings=preferredColorScheme=0")
    else:
        words.append("--blink-settings=preferredColorScheme=1")
    subprocess.run([*words, file.as_uri()], check=True, timeout=120, capture_output=True)
    found = pixels(shot)
    assert found.most_common(1)[0][0] == PAGES[scheme]
    for what, colour in DRAWN[scheme].items():
        assert found[colour] > 30, what

"""TradeFan whose analyses of costs are final after two seconds, not five minutes; all else is as shipped.

Run by path, with the words of the command line.
"""

from __future__ import annotations

from tradefan.core import track
from tradefan.units import SECOND

track.HORIZONS_NS = (SECOND // 4, SECOND // 2, SECOND, 2 * SECOND)
track.FINAL_NS = track.HORIZONS_NS[-1]

if __name__ == "__main__":
    from tradefan.cli import main

    main()

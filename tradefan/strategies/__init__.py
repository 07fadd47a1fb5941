"""Strategies that come along. They show the plumbing and are not meant to earn.

Importing this package registers them.
"""

from __future__ import annotations

from tradefan.strategies.ema_cross import EmaCross
from tradefan.strategies.rebalance import Rebalance

__all__ = ["EmaCross", "Rebalance"]

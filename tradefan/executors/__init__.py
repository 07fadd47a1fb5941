"""Executors: algorithms that work one parent, recipes of parts that one engine interprets."""

from tradefan.executors import iceberg, limit, market, pov, twap, vwap

__all__ = ["iceberg", "limit", "market", "pov", "twap", "vwap"]

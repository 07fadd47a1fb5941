"""Executors: algorithms that work one parent, pure functions of a frozen view."""

from tradefan.executors import limit, market

__all__ = ["limit", "market"]

"""TradeFan: a crypto trading daemon with a synchronous core and an asyncio rim."""

__version__ = "0.1.0"

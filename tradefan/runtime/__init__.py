"""The kernel: it knows neither asyncio nor a clock nor trading."""

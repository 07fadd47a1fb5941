"""Replays what the flight recorder kept, through the same code: to check, to explain, to ask what if."""

"""Actors: functions of (state, message), one per failure domain."""

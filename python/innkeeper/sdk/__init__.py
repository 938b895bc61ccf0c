"""Guests for those who write Python: what `innkeeper` has by name."""

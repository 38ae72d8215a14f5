"""Metrics, usage by day, and prices."""

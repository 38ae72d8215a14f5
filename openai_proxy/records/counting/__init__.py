"""Numbers: metrics, usage by day, and prices."""

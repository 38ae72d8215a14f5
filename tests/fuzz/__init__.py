"""Random requests, both ways: `make fuzz`.

Each request goes to two daemons that differ in one thing: one has the fast path, the other has not. What the clients
get and what the provider sees must be the same, nothing may break, and nothing may be left behind.
"""

"""Random requests, with and without the fast path: `make fuzz`.

Each request is sent to two daemons that differ only in the fast path. The clients' answers and the provider's requests
must be the same, nothing may break, and nothing may be left behind.
"""

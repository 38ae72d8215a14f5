"""How long other clients wait while one large request is served, and the cost of a client that does not read."""

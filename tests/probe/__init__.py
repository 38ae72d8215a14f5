"""How long everyone else waits while one large request is served, and what a client that does not read costs."""

"""The client's side of HTTP: listener, connection, request body, reply, headers. Knows nothing of what is served."""

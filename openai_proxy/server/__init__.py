"""The client's side of HTTP: listener, connection, request body, reply, headers. Independent of what is served."""

"""MCP servers: alive, supervised, never in the way.

    supervisor.py   the public face: reconcile with a configuration, hand out tools, tell the status
    server.py       one actor per configured server: its state machine; never touches the SDK
    connection.py   one generation of a connection: client, tool list, watch, calls
    stdio.py, streamable.py, sse.py      the three transports (process.py, spawn.py, http_client.py beneath them)
    filter.py, repair.py                 what stands between the wire and the SDK's strict validation
    tool.py, results.py, names.py, policy.py, known.py      what the model gets to see of it

The SDK costs 0.5 s and 55 MB (measured, mcp 2.3.0), so `sdk.py` imports it in a thread, and only once a server is
configured: `connection` and what it stands on are imported by it and by nobody else.
"""

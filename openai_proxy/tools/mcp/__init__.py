"""MCP servers: alive, supervised, never in the way.

    supervisor.py   the public face: reconcile with a configuration, hand out tools, tell the status
    server.py       one actor per configured server: its state machine; never touches the SDK
    connection.py   one generation of a connection: client, tool list, watch, calls
    stdio.py, transports.py     the three transports (process.py, spawn.py and http_client.py beneath them)
    inbox.py, lines.py, filter.py, repair.py    what stands between the wire and the SDK's strict validation
    failures.py, diagnosis.py   why a connection ended, how far a call got, when to try again
    definitions.py, tool.py, results.py         what the model gets to see of it
    oauth/          signing in to remote servers
    sdk_internals.py            all we use of the SDK that it does not promise to keep

The SDK costs 0.5 s and 55 MB (measured, mcp 2.3.0), so `sdk.py` imports it in a thread, and only once a server is
configured: `connection` and the files it needs are imported by it and by nobody else.
"""

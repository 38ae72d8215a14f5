"""MCP servers: kept running, supervised, never blocking anything else.

    supervisor.py   the public interface: apply a configuration, return tools, report status
    server.py       one actor per configured server: its state machine; never touches the SDK
    connection.py   one generation of a connection: client, tool list, watch, calls
    stdio.py, transports.py     the three transports (on top of process.py and http_client.py)
    inbox.py, lines.py, filter.py, repair.py    between the wire and the SDK's strict validation
    failures.py, diagnosis.py   why a connection ended, how far a call got, when to retry
    definitions.py, tool.py, results.py         what the model sees of it
    oauth/          signing in to remote servers
    sdk_internals.py            the SDK's private parts that we use

The SDK costs 0.5 s and 55 MB (measured, mcp 2.3.0), so `sdk.py` imports it in a thread, and only once a server is
configured; only `sdk.py` imports `connection` and the files it needs.
"""

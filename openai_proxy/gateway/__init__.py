"""`/mcp` and `/mcp/{model}`: the tools of this house for other MCP clients, over Streamable HTTP.

    endpoint.py    one HTTP request: who asks, GET, POST, DELETE, errors in the protocol's own shape
    rpc.py         what a message is in either era of the protocol, and how it is answered; no I/O
    offer.py       which tools a caller sees
    calls.py       running one tool: progress, cancellation, the record
    streams.py     held streams that tell when the list of tools has changed

Both eras are served: the handshake of 2024-11-05 to 2025-11-25, and the stateless requests of 2026-07-28. Nothing is
kept of a client between two requests, of neither era: a session id is given out, since clients expect one and cancel
by it, but everything that counts is in each request, so a restart of the daemon ends no session.

The SDK's server parts are not used: a call through its session manager takes 1.4 to 1.6 ms and an idle session
34 KiB (measured, mcp 2.3.0, 2 cores), more than the whole of ours may cost. Its checks of the stateless era's envelope
and headers (`mcp.shared.inbound`), its versions and its error codes are.
"""

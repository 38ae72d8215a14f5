"""`/mcp` and `/mcp/{model}`: our tools for other MCP clients, over Streamable HTTP.

    endpoint.py    one HTTP request: caller, GET, POST, DELETE, errors in the protocol's own format
    rpc.py         messages of both versions of the protocol, and their answers; no I/O
    offer.py       which tools a caller sees
    calls.py       running one tool: progress, cancellation, the record
    streams.py     open streams that announce changes of the tool list

Both versions are supported: the handshake of 2024-11-05 to 2025-11-25, and the stateless requests of 2026-07-28.
Nothing about a client is kept between requests in either: a session id is issued, since clients expect one and cancel
by it, but each request has everything needed, so a restart of the daemon ends no session.

The SDK's server classes are not used: a call through its session manager takes 1.4 to 1.6 ms and an idle session 34 KiB
(measured, mcp 2.3.0, 2 cores), more than our whole budget. Its checks of the stateless version's envelope and headers
(`mcp.shared.inbound`), its versions and its error codes are used.
"""

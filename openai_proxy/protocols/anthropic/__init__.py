"""Chat Completions ⇄ Anthropic Messages, pure functions and state machines, no I/O.

Outbound (our client speaks chat, the provider Messages): `request`, `content`, `capabilities`, `response`, `stream`.
Inbound (our client speaks Messages): protocols/messages_inbound.py, which uses `content` the other way round.
API: https://docs.anthropic.com/en/api/messages
"""

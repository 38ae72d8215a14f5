"""Shared by tests of the running daemon: the daemon as a child, an upstream that misbehaves on demand, raw clients.

daemon.py     start, watch and stop the real program
upstream.py   a provider on raw sockets that plays a script and records its requests
plays.py      scripts and their parts: heads, chunks, events
wire.py       a client that sees every byte and knows whether an answer was complete
answers.py    what an answer of each kind must look like
waiting.py    bounded waits
websocket.py  the frames of RFC 6455, both ways
"""

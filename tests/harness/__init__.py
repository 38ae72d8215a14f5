"""What tests of the running daemon share: the daemon as a child, an upstream that misbehaves to order, raw clients.

daemon.py     start, watch and stop the real program
upstream.py   a provider on raw sockets that plays a script and remembers what it saw
plays.py      scripts and their parts: heads, chunks, events
wire.py       a client that sees every byte and says whether an answer was whole
answers.py    what an answer of each kind must look like
waiting.py    bounded waits
websocket.py  the frames of RFC 6455, both ways
"""

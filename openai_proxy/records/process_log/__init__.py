"""The daemon's log: log lines, one line per finished request, repeats collapsed.

Everything goes through Python's logging to one handler (`output.py`), which chooses the style: for a person at a
terminal, for a pipe or file, for journald, or as JSON. Request lines (`requests.py`) are created by the recorder's
thread, after the answer was sent.
"""

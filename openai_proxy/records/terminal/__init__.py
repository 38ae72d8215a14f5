"""What the owner sees while the daemon runs: log lines, one line per finished request, repeats collapsed.

Everything goes through Python's logging to one handler (`output.py`), which picks the style: for a person at a
terminal, for a pipe or file, for journald, or as JSON. Request lines (`requests.py`) are made by the recorder's
thread, after the answer is gone.
"""

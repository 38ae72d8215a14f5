"""Unmodified clients against the daemon: each with a plain model of either kind, augmented, mixed, as one table.

    make clients                                those that are installed
    make clients ARGS="--install"               installs the others first, from their registries, into a cache
    make clients ARGS="codex claude --keep"     only these; their output is kept in build/clients

Each cell is one headless run: a question, a tool call (the client's own, ours, or both at once) and the last word. The
model is scripted (`model.py`) and speaks chat completions and Messages; nothing leaves the machine.
"""

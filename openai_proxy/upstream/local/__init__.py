"""Models that run on this machine, each in its own child process, so that the daemon never loads torch.

`provider.py`, `job.py` and `process.py` are the daemon's side; `worker.py`, `model.py` and `function.py` run in
the child. They talk in JSON lines over pipes:

    to the child:    {"op": "generate", "id": 1, "body": {chat request}}    {"op": "cancel", "id": 1}
    from the child:  {"event": "ready"} or {"event": "failed", "code", "message"}, once; then for each request
                     {"event": "delta", "id", "delta": {…}} …, and one of
                     {"event": "done", "id", "finish_reason", "prompt_tokens", "completion_tokens"}
                     {"event": "error", "id", "status", "code", "message"}

A child ends when its stdin does, so it never outlives the daemon.
"""

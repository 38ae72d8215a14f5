"""Starts the worker. A file of its own, so that worker.py is one module and not two."""

from openai_proxy.upstream.local.worker import main

main()

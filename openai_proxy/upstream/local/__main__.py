"""Starts the worker. A separate file, so that worker.py is loaded as one module and not two."""

from openai_proxy.upstream.local.worker import main

main()

"""Ollama's API, both ways: clients that speak it, and servers.

https://docs.ollama.com/api
"""

"""Ollama's API, client and server side.

https://docs.ollama.com/api
"""

"""The peculiarities of Google's OpenAI-compatible endpoint, and their repair. Pure functions and state, no I/O.

Endpoint: https://ai.google.dev/gemini-api/docs/openai
"""

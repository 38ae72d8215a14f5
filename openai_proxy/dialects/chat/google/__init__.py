"""What Google's OpenAI-compatible endpoint does differently, and its repair. Pure functions and state, no I/O.

Endpoint: https://ai.google.dev/gemini-api/docs/openai
"""

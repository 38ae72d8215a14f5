"""Google's Gemini API, as clients speak it. Towards Google we use its OpenAI-compatible endpoint.

https://ai.google.dev/api
"""

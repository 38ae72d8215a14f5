"""Google's Gemini API, client side. For requests to Google we use its OpenAI-compatible endpoint.

https://ai.google.dev/api
"""

"""Chat completions, the pivot itself: reading what providers really send, and writing it.

https://platform.openai.com/docs/api-reference/chat
"""

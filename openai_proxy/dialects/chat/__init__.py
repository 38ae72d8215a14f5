"""Chat completions, the pivot itself: reading what providers really send, and writing.

https://platform.openai.com/docs/api-reference/chat
"""

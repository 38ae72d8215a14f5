"""Anthropic's Messages API, client and provider side.

https://docs.anthropic.com/en/api/messages
"""

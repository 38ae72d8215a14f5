"""Anthropic's Messages API, both ways: clients that speak it, and providers.

https://docs.anthropic.com/en/api/messages
"""

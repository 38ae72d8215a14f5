"""Conversation data stored between requests: bounded by count, bytes and age, bound to the caller."""

"""Serving one request: the order of its steps, chat, the other APIs, augmented models, pass-through."""

"""The meaning of a model name: patterns, router, catalog."""

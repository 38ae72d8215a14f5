"""What a model name means: patterns, router, catalog."""

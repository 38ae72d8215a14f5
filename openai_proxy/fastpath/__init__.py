"""Carries out a plain decision in callbacks: the provider's bytes are relayed as they arrive, without a task."""

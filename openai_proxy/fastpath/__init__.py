"""Carries out a plain decision in callbacks: the provider's bytes are relayed as they come, without a task."""

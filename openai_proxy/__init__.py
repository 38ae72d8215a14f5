"""openai_proxy: the LLM proxy for a home server."""

from openai_proxy.version import __version__

__all__ = ["__version__"]

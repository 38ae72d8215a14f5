"""OpenTelemetry: spans and metrics of requests, attempts and tools, for a collector. Imported only if one is set.

Names and attributes follow the semantic conventions for generative AI and MCP
(https://opentelemetry.io/docs/specs/semconv/gen-ai/), in their development versions of 2026.
"""

"""OpenTelemetry: spans and metrics of requests, attempts and tools, for a collector. Imported only where one is set.

Names and attributes are those of the semantic conventions for generative AI and MCP
(https://opentelemetry.io/docs/specs/semconv/gen-ai/), in their development versions of 2026.
"""

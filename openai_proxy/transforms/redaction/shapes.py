"""The formats of common services' keys, to find secrets that are not in the configuration.

Every pattern begins with literal text and has no nested repetition, so searching stays linear in any engine. Sources:
the services' own documentation, and GitHub's list of secret-scanning partners
(https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns).
"""

import re

AWS = rb"A(?:KIA|SIA)[A-Z0-9]{16}"

PATTERNS: tuple[bytes, ...] = (
    rb"sk-[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, OpenRouter, DeepSeek, …
    rb"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
    rb"gh[pousr]_[A-Za-z0-9]{36,}",  # GitHub
    rb"github_pat_[A-Za-z0-9_]{36,}",
    rb"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    rb"AIza[A-Za-z0-9_-]{35}",  # Google
    rb"GOCSPX-[A-Za-z0-9_-]{24,}",
    AWS,
    rb"xox[abeprs]-[A-Za-z0-9-]{20,}",  # Slack
    rb"hf_[A-Za-z0-9]{30,}",  # Hugging Face
    rb"gsk_[A-Za-z0-9]{30,}",  # Groq
    rb"xai-[A-Za-z0-9]{30,}",
    rb"pplx-[A-Za-z0-9]{30,}",  # Perplexity
    rb"r8_[A-Za-z0-9]{30,}",  # Replicate
    rb"nvapi-[A-Za-z0-9_-]{30,}",
    rb"npm_[A-Za-z0-9]{30,}",
    rb"pypi-[A-Za-z0-9_-]{50,}",
    rb"dop_v1_[a-f0-9]{60,}",  # DigitalOcean
    rb"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    rb"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # JWT: Home Assistant's long-lived tokens
)

PREFIXES = (
    rb"sk-|[srp]k_(?:live|test)_|gh[pousr]_|github_pat_|glpat-|AIza|GOCSPX-|A[KS]IA|xox[abeprs]-|hf_|gsk_|xai-|pplx-"
    rb"|r8_|nvapi-|npm_|pypi-|dop_v1_|SG\.|eyJ"
)
"""How the keys of PATTERNS begin, for a quick check."""

PRIVATE_KEY = rb"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"

BEGIN = rb"(?:\b|\\[nrtbf]|\\u[0-9a-fA-F]{4})"
"""A key begins a word, unlike part of `risk-free-…`. In JSON a line end is a backslash and a letter."""

_DIGIT = re.compile(rb"[0-9]")
_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)


def begin(text: bytes, start: int) -> int:
    """Where the key itself begins in a match of BEGIN and a pattern at `start`."""
    escape = _ESCAPE.match(text, start)
    return escape.end() if escape is not None else start


def plausible(text: bytes, start: int, end: int) -> bool:
    """True if `text[start:end]`, the match of a pattern, is a key rather than a chain of words: `sk-learn-…`."""
    return text.startswith(b"-----", start) or _DIGIT.search(text, start, end) is not None

"""Which paths exist, and what an endpoint's path is below the API root.

Decisions rest on the raw target, never on `request.url`: aiohttp rebuilds that from the Host header, so a crafted Host
can move the path (the class of CVE-2026-48710).
"""

import re
from urllib.parse import unquote

from openai_proxy.errors import BadRequest, NotFound

ROOTS = frozenset(
    {
        "assistants", "audio", "batches", "chat", "completions", "containers", "conversations", "credits", "edits",
        "embeddings", "engines", "evals", "files", "fine_tuning", "fine-tunes", "generation", "images", "messages",
        "models", "moderations", "organization", "realtime", "rerank", "responses", "score", "tokenize", "detokenize",
        "threads", "uploads", "vector_stores", "videos",
    }
)  # fmt: skip
"""First segments that also answer without /v1."""

OWN = frozenset({"/", "/health", "/metrics", "/favicon.ico"})

_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def split_target(target: str) -> tuple[str, str]:
    """The raw path and query of a request target (origin-form, or absolute-form whose authority is dropped).

    Raises BadRequest for other forms and for dot segments, which the provider might resolve and we do not.
    """
    if not target.startswith("/"):
        match = _ABSOLUTE.match(target)
        if match is None:
            raise BadRequest("This request target is not served.", code="invalid_target")
        target = target[match.end() :] or "/"
    path, _, query = target.partition("?")
    if any(unquote(segment) in (".", "..") for segment in path.split("/")) or "\\" in path or "#" in path:
        raise BadRequest("The path holds dot segments.", code="invalid_target")
    return path, query


def endpoint(path: str) -> str:
    """The path below the API root: "/v1/chat/completions" and "/chat/completions" are both "/chat/completions".

    Raises NotFound for paths outside the API.
    """
    if path.startswith("/v1/") and len(path) > 4:
        return path[3:]
    first = path[1:].partition("/")[0]
    if first in ROOTS and path != "/":
        return path
    raise NotFound("There is nothing at this path.")

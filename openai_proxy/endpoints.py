"""The table of endpoints, used by everything that treats one endpoint differently from another.

A path is normalised once, here, before any decision: a trailing slash, doubled slashes and a repeated `/v1` mean the
same endpoint. Case and percent-encoding are not folded; a path that would mean another endpoint once decoded is
refused, because the provider might decode it. The path sent upstream is the one that was decided on.

Paths are read from the raw target, never from `request.url`: aiohttp rebuilds that from the Host header, so a crafted
Host can change the path (the class of CVE-2026-48710).
"""

import re
from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

from openai_proxy.errors import BadRequest, NotFound

SERVE: Final = "serve"
UPSTREAM: Final = "upstream"
REFUSE: Final = "refuse"

CHAT_PATH: Final = "/chat/completions"

NEVER: Final = ""
NAMED: Final = "named"
ANY: Final = "any"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint; the defaults are those of a path that is not in the table, which passes through."""

    name: str
    path: str  # below the API root: "/chat/completions"
    dialect: str = ""  # the wire format of its requests and answers, if it is one of `dialects`
    generates: bool = True  # a model generates output for it
    augmented: str = REFUSE  # an augmented model here is served, passes as its upstream model, or is refused
    raw: bool = False  # files are passed unchanged: their contents are not inspected
    json: bool = False  # its body is JSON whatever the Content-Type: curl's -d calls it a form
    needs_model: bool = False  # a model is required; elsewhere providers have a default or need none
    shaped: bool = False  # `params` apply to it
    commanded: bool = False  # its messages come from people and may contain commands
    noticed: bool = False  # interactive mode may put text before its answers
    replayable: bool = False  # sending it twice does no harm: after a failure another target may be tried
    metered: bool = False  # its answers report usage
    fast: bool = False  # plain requests may take the fast path
    method: str = ""  # its only method, besides HEAD for GET; "": any
    lists: bool = False  # it lists models: answered here, from the catalog
    restricted: str = NEVER  # what keys limited to some models may do: nothing, use an allowed model, or anything
    elsewhere: bool = False  # part of the API, but impossible for a proxy to serve
    only: str = ""  # the `api_type` of the connections that have it, if others have no equivalent

    @property
    def costs(self) -> bool:
        """True if providers charge for an answer."""
        return (self.generates and not self.name.startswith("stored")) or self.metered or self.name in _DEAR


_DEAR: Final = frozenset({"audio", "images", "videos"})


def _conversation(name: str, path: str, dialect: str = "", **more: bool | str) -> Endpoint:
    return Endpoint(name, path, dialect, json=True, commanded=True, metered=True, restricted=NAMED, **more)  # type: ignore[arg-type]  # the class's own


def _passing(name: str, path: str, **more: bool | str) -> Endpoint:
    return Endpoint(name, path, **{"generates": False, "augmented": UPSTREAM, "restricted": NAMED, **more})  # type: ignore[arg-type]  # the class's own


def _ollama(path: str, **more: bool | str) -> Endpoint:
    name = f"ollama{path.removeprefix('/api')}"
    return Endpoint(name, path, "ollama", **{"method": "POST", "restricted": NAMED, **more})  # type: ignore[arg-type]  # the class's own


def _gemini(name: str, **more: bool | str) -> Endpoint:
    return Endpoint(name, "", "gemini", **{"method": "POST", "restricted": NAMED, **more})  # type: ignore[arg-type]  # the class's own


_TALK: Final[dict[str, bool | str]] = {
    "augmented": SERVE, "json": True, "needs_model": True, "shaped": True, "commanded": True, "noticed": True,
    "replayable": True, "metered": True,
}  # fmt: skip
_EMBED: Final[dict[str, bool | str]] = {
    "generates": False, "augmented": UPSTREAM, "json": True, "needs_model": True, "replayable": True, "metered": True,
}  # fmt: skip

TABLE: Final = (
    _conversation(
        "chat", CHAT_PATH, "chat", augmented=SERVE, needs_model=True, shaped=True, noticed=True,
        replayable=True, fast=True,
    ),
    _conversation(
        "messages", "/messages", "messages", augmented=SERVE, needs_model=True, shaped=True, noticed=True,
        replayable=True,
    ),
    Endpoint(
        "count_tokens", "/messages/count_tokens", "messages", generates=False, augmented=SERVE, json=True,
        restricted=NAMED,
    ),
    _conversation("responses", "/responses", "responses", augmented=SERVE, shaped=True, noticed=True, fast=True),
    Endpoint(
        "input_tokens", "/responses/input_tokens", "responses", generates=False, augmented=SERVE, json=True,
        restricted=NAMED,
    ),
    _conversation("completions", "/completions", needs_model=True, replayable=True, fast=True),
    _passing("embeddings", "/embeddings", json=True, needs_model=True, replayable=True, metered=True, fast=True),
    _passing("moderations", "/moderations", json=True, fast=True, restricted=ANY),
    _passing("rerank", "/rerank", json=True, metered=True),
    _passing("score", "/score"),
    _passing("tokenize", "/tokenize", restricted=ANY),
    _passing("detokenize", "/detokenize", restricted=ANY),
    _passing("images", "/images/generations", metered=True),
    _passing("images", "/images/edits", metered=True),
    _passing("images", "/images/variations"),
    _passing("audio", "/audio/speech", metered=True),
    _passing("audio", "/audio/transcriptions", metered=True),
    _passing("audio", "/audio/translations", metered=True),
    Endpoint("models", "/models", generates=False, restricted=ANY),
    _ollama("/api/chat", **_TALK),
    _ollama("/api/generate", **_TALK),
    _ollama("/api/embed", **_EMBED),
    _ollama("/api/embeddings", **_EMBED),
    _ollama("/api/tags", method="GET", generates=False, lists=True, restricted=ANY),
    _ollama("/api/ps", method="GET", generates=False, lists=True, restricted=ANY),
    _ollama("/api/version", method="GET", generates=False, lists=True, restricted=ANY),
    _ollama("/api/show", generates=False, json=True, lists=True, restricted=ANY),
    *(
        _ollama(f"/api/{name}", method="", generates=False, elsewhere=True)
        for name in ("pull", "push", "create", "copy", "delete", "me", "signout")
    ),
)  # fmt: skip
"""Endpoints with an exact path."""

BELOW: Final = (
    Endpoint("model", "/models/", generates=False, restricted=ANY),
    Endpoint("stored", "/responses/", generates=False),
    Endpoint("stored", "/conversations", generates=False),
    Endpoint("realtime", "/realtime", restricted=NAMED),
    Endpoint("batches", "/batches"),
    Endpoint("batches", "/messages/batches", only="anthropic"),
    _passing("audio", "/audio"),
    _passing("images", "/images"),
    _passing("files", "/files", raw=True, restricted=NEVER),
    _passing("uploads", "/uploads", raw=True, restricted=NEVER),
    _passing("vector_stores", "/vector_stores", restricted=NEVER),
    _passing("videos", "/videos"),
    _ollama("/api/blobs", method="", generates=False, elsewhere=True),
)
"""Endpoints that cover a path and everything below it; the first match wins."""

MCP: Final = Endpoint("mcp", "/mcp", generates=False, augmented=SERVE)
"""The endpoint for MCP clients, beside the API rather than below its root: the gateway resolves its own paths."""
GEMINI: Final = {
    "generateContent": _gemini("generate_content", **_TALK),
    "streamGenerateContent": _gemini("stream_generate_content", **_TALK),
    "countTokens": _gemini("count_content_tokens", generates=False, augmented=SERVE, json=True, needs_model=True),
    "embedContent": _gemini("embed_content", **_EMBED),
    "batchEmbedContents": _gemini("batch_embed_contents", **_EMBED),
}
"""Google's endpoints: `/models/{model}:verb`, by the verb."""
_GEMINI_LIST: Final = Endpoint(
    "gemini models", "/models", "gemini", generates=False, method="GET", lists=True, restricted=ANY
)
_GEMINI_ROOTS: Final = frozenset({"v1beta", "v1alpha"})

ROOTS: Final = frozenset(
    {
        "agents", "assistants", "audio", "batches", "chat", "chatkit", "completions", "containers",
        "content_provenance_checks", "conversations", "credits", "decisions", "detokenize", "edits", "embeddings",
        "engines", "evals", "files", "fine_tuning", "fine-tunes", "generation", "images", "live", "messages", "models",
        "moderations", "organization", "realtime", "rerank", "responses", "score", "skills", "threads", "tokenize",
        "uploads", "vector_stores", "videos",
    }
)  # fmt: skip
"""First segments that also work without /v1."""

_EXACT: Final = {row.path: row for row in TABLE}
_BY_TARGET: Final = {prefix + row.path: row for prefix in ("", "/v1") for row in TABLE if not row.method}
_ABSOLUTE: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_DECODINGS: Final = 3
"""How often a path is decoded in search of another meaning: providers behind proxies may decode twice."""

FAST: Final = {target: row for target, row in _BY_TARGET.items() if row.fast}
"""Targets of the fast path, as written on the request line."""


def split_target(target: str) -> tuple[str, str]:
    """The raw path and query of a request target (origin-form, or absolute-form whose authority is dropped).

    Raises BadRequest for other forms, and for dot segments, which the provider might resolve but we do not.
    """
    if not target.startswith("/"):
        match = _ABSOLUTE.match(target)
        if match is None:
            raise BadRequest("This request target is not served.", code="invalid_target")
        target = target[match.end() :] or "/"
    path, _, query = target.partition("?")
    if "\\" in path or "#" in path or any(_has_dots(reading) for reading in _readings(path)):
        raise BadRequest("The path contains dot segments.", code="invalid_target")
    return path, query


def locate(method: str, path: str) -> Endpoint:
    """The endpoint at a raw path: "/v1/chat/completions", "/chat/completions" and "//v1/v1/chat/completions/" are one.

    Raises NotFound for paths outside the API, and for paths that mean another endpoint once they are decoded.
    """
    found = _BY_TARGET.get(path)
    if found is None:
        found = _find(method, path)
        for reading in _readings(path)[1:]:
            if _find(method, reading).name != found.name:
                raise NotFound("There is nothing at this path.")
    if found.method:
        if method != found.method and not (method == "HEAD" and found.method == "GET"):
            raise NotFound(f"This endpoint expects {found.method}.", code="method_not_allowed", status=405)
        return found
    if found.name in ("models", "model"):  # answered here; other methods concern the account
        return found if method in ("GET", "HEAD") else replace(found, restricted=NEVER)
    return found if method == "POST" else _not_posted(found)


def at(path: str) -> Endpoint:
    """The endpoint at a path below the API root, as it is written in `Endpoint.path`."""
    return _EXACT.get(path) or _row(path)


def _not_posted(row: Endpoint) -> Endpoint:
    """The endpoint at `row` for methods other than POST: where POST generates, they concern stored answers.

    Except where a GET begins a conversation, which costs as much as what is posted.
    """
    if row.path == "/realtime":
        return row
    if row.generates:
        restricted = NAMED if row.name == "realtime" else NEVER
        return Endpoint(f"stored {row.name}", row.path, only=row.only, restricted=restricted)
    return replace(row, restricted=NEVER) if row.restricted else row


def list_language(fields: Container[str]) -> str:
    """The dialect of the list at /models for a request with the header `fields`; "" for OpenAI's own."""
    if "x-goog-api-key" in fields:
        return "gemini"
    return "messages" if "anthropic-version" in fields else ""


def language(path: str, fields: Container[str] = ()) -> str:
    """The dialect of errors about a raw path, even if nothing is there; "" for that of the chat API."""
    first, _, rest = path.lstrip("/").partition("/")
    while first == "v1":
        first, _, rest = rest.lstrip("/").partition("/")
    if first == "api" and rest:
        return "ollama"
    if first in _GEMINI_ROOTS or (first == "models" and rest.rpartition(":")[2] in GEMINI):
        return "gemini"
    if first == "models":
        return list_language(fields)
    return "messages" if first == "messages" else ""


def _find(method: str, path: str) -> Endpoint:
    segments = [segment for segment in path.split("/") if segment]
    root = segments[0] if segments else ""
    if root == "api":
        return _known("/" + "/".join(segments))
    while segments and segments[0] == "v1":
        del segments[0]
    if root in _GEMINI_ROOTS:
        del segments[0]
    if not segments or not (root in ("v1", *_GEMINI_ROOTS) or root in ROOTS):
        raise NotFound("There is nothing at this path.")
    below = "/" + "/".join(segments)
    verb = below.rpartition(":")[2] if segments[0] == "models" and len(segments) > 1 else ""
    if verb in GEMINI and (root in _GEMINI_ROOTS or method == "POST"):
        return replace(GEMINI[verb], path=below)
    if root not in _GEMINI_ROOTS:
        return _row(below)
    if segments[0] != "models":
        raise NotFound("There is nothing at this path.")
    return _GEMINI_LIST if len(segments) == 1 else replace(_GEMINI_LIST, name="gemini model", path=below)


def _known(path: str) -> Endpoint:
    """The endpoint at a path of an API of which only the table's paths are served."""
    row = _row(path)
    if row.name == "other":
        raise NotFound("There is nothing at this path.")
    return row


def _row(path: str) -> Endpoint:
    found = _EXACT.get(path)
    if found is not None:
        return found
    for row in BELOW:
        if path == row.path or path.startswith(row.path.rstrip("/") + "/"):
            return replace(row, path=path)
    return Endpoint("other", path)


def _readings(path: str) -> list[str]:
    """`path` as it is, and decoded repeatedly while that changes anything."""
    found = [path]
    while "%" in found[-1] and len(found) <= _DECODINGS:
        decoded = unquote(found[-1])
        if decoded == found[-1]:
            break
        found.append(decoded)
    return found


def _has_dots(path: str) -> bool:
    """True if `path` has a dot segment, also one with parameters (`..;x`), which Java servers strip."""
    return any(segment.partition(";")[0] in (".", "..") for segment in path.replace("\\", "/").split("/"))

"""What the upstream answers without a script: a small, well-behaved OpenAI-compatible server."""

import base64
import json
from typing import TYPE_CHECKING, Final

from tests.harness.plays import DONE, completion, delta, plain, stream

if TYPE_CHECKING:
    from tests.harness.scripts import Seen

MODELS: Final = ("m-small", "vendor/m-large", "vendor/deep/name:free")
SPEECH: Final = bytes(range(256)) * 300
IMAGE: Final = base64.b64encode(b"\x89PNG" + bytes(range(256))).decode()


def requested_model(seen: "Seen") -> str | None:
    """The `model` of a JSON body, or None."""
    if not seen.body.lstrip().startswith(b"{"):
        return None
    try:
        body = json.loads(seen.body)
    except ValueError:
        return None
    model = body.get("model")
    return model if isinstance(model, str) else None


def answer(seen: "Seen") -> bytes:
    """A fitting answer to `seen`, as bytes for the wire."""
    path = seen.target.split("?")[0].removeprefix("/v1")
    model = requested_model(seen) or "upstream-model"
    if path == "/models":
        data = [{"id": name, "object": "model", "created": 1, "owned_by": "upstream"} for name in MODELS]
        return plain(json.dumps({"object": "list", "data": data}).encode())
    if path == "/chat/completions":
        if json.loads(seen.body).get("stream"):
            parts = (delta("Hello", model=model), delta(" world", model=model), delta("", finish="stop", model=model))
            return stream(*parts, DONE)
        return plain(completion("Hello world", model=model))
    if path == "/embeddings":
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        return plain(json.dumps({"object": "list", "data": data, "model": model, "usage": usage}).encode())
    if path == "/audio/transcriptions":
        return plain(b'{"text":"good morning"}')
    if path == "/audio/speech":
        return plain(SPEECH, content_type="audio/mpeg")
    if path in {"/images/generations", "/images/edits"}:
        return plain(json.dumps({"created": 1, "data": [{"b64_json": IMAGE}]}).encode())
    return plain(json.dumps({"method": seen.method, "path": path, "size": seen.size}).encode())

"""A connection to Anthropic: chat completions are translated, `/messages` and everything else goes through as it is."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

import orjson

from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.messages.capabilities import (
    UNKNOWN,
    Capabilities,
    learn_limit,
    learn_refused,
    read_capabilities,
)
from openai_proxy.dialects.messages.read_message import (
    STATUS_OF_ERROR,
    model_object,
    to_completion,
    translate_error,
)
from openai_proxy.dialects.messages.read_stream import ChunkStream
from openai_proxy.dialects.messages.write_request import Translated, to_messages
from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.errors import ProxyError, UpstreamError, UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse
from openai_proxy.protocols.json_members import parse_object
from openai_proxy.upstream.anthropic_models import ModelBook
from openai_proxy.upstream.inprocess import BytesResponse, ConvertedResponse, collect, error_response, json_response
from openai_proxy.upstream.refusals import must_list
from openai_proxy.upstream.translating import (
    IN_THREAD,
    MAX_ANSWER,
    MAX_BODY,
    MAX_ERROR,
    Ask,
    Told,
    answer_object,
    body_headers,
    dropped_header,
    header,
    must_be_plain,
    without,
)

VERSION: Final = b"2023-06-01"
STREAM_ABOVE: Final = 21_333
"""max_tokens from which an answer may take ten minutes: then it is streamed to us even if the client wants it whole.

The vendor's SDK draws the line at the same place (128,000 tokens are taken to need an hour).
"""
_REPLACED: Final = frozenset(
    {b"x-api-key", b"authorization", b"content-type", b"content-length", b"accept", b"accept-encoding",
     b"openai-organization", b"openai-project", b"openai-beta"}
)  # fmt: skip
_RATE_LIMITS: Final = {
    b"anthropic-ratelimit-%b-%b" % (ours, part): b"x-ratelimit-%b-%b" % (part, ours)
    for ours in (b"requests", b"tokens")
    for part in (b"limit", b"remaining", b"reset")
}


class AnthropicProvider:
    """See provider.Provider.

    `ask` sends over the pool of this connection, whose base is the vendor's `/v1`; `keys` are the configured ones, used
    for the model list; with `forward_auth` the caller's own bearer goes up instead.
    """

    api_type: ClassVar[str] = "anthropic"

    def __init__(self, name: str, ask: Ask, *, keys: Sequence[str] = (), forward_auth: bool = False) -> None:
        self.name = name
        self._ask = ask
        self._keys = tuple(keys)
        self._forward_auth = forward_auth
        self._told = Told(name)
        self._refused: dict[str, frozenset[str]] = {}
        self._limits: dict[str, int] = {}
        self.models = ModelBook(name, self._get)

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """Ask with `key`. What cannot be said in the Messages API comes back as an answer with status 400."""
        path = request.path.rstrip("/")
        if request.method == "POST" and path == "/chat/completions":
            try:
                return await self._chat(request, key)
            except UpstreamError:
                raise
            except ProxyError as error:
                return error_response(error)
        if request.method == "GET" and path == "/models":
            return json_response({"object": "list", "data": await self.list_models(key)})
        response = await self._raw(request, key, without(request.headers, _REPLACED - {b"content-type", b"accept"}))
        if request.method == "GET" and path.startswith("/models/") and response.status == 200:
            return await _model_answer(response)
        return response

    async def list_models(self, key: str | None = None) -> list[dict[str, Any]]:
        """Every model of the account, as OpenAI model objects. Raises the UpstreamError family."""
        entries = await self.models.fetch(key or (self._keys[0] if self._keys else None))
        return [model_object(entry) for entry in entries]

    async def aclose(self) -> None:
        """End what runs in the background."""
        await self.models.aclose()

    async def _chat(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        data = await collect(request.body, MAX_BODY)
        chat = await asyncio.to_thread(parse_object, data) if len(data) > IN_THREAD else parse_object(data)
        capabilities = await self._capabilities(chat, key)
        response, asked = await self._attempt(request, key, chat, capabilities)
        if response.status == 400:
            body = await self._error(response)
            model = asked.body["model"]
            message = _message_of(body)
            refused = learn_refused(message, asked.body)
            limit = None if _limited(chat) else learn_limit(message)
            if not refused and limit is None:
                return _error_answer(response, body, asked)
            if limit is not None:
                self._limits[model] = limit
                capabilities = replace(capabilities, max_tokens=limit)
            # Nothing has been answered yet, so the same question may be put again without what the model refuses.
            self._refused[model] = self._refused.get(model, frozenset()) | refused
            response, asked = await self._attempt(request, key, chat, capabilities)
        if response.status != 200:
            return _error_answer(response, await self._error(response), asked)
        must_be_plain(response)
        self._told.tell(asked.dropped)
        return await self._answer(response, asked, bool(chat.get("stream")))

    async def _capabilities(self, chat: dict[str, Any], key: str | None) -> Capabilities:
        model = chat.get("model")
        if not isinstance(model, str):
            return UNKNOWN
        effort = chat.get("reasoning_effort") is not None or chat.get("reasoning") is not None
        entry = await self.models.entry(model, key, wait=effort or not _limited(chat))
        capabilities = UNKNOWN if entry is None else read_capabilities(entry)
        limit = self._limits.get(model)
        return capabilities if limit is None else replace(capabilities, max_tokens=limit)

    async def _attempt(
        self, request: UpstreamRequest, key: str | None, chat: dict[str, Any], capabilities: Capabilities
    ) -> tuple[UpstreamResponse, Translated]:
        asked = to_messages(chat, capabilities, self._refused.get(str(chat.get("model")), frozenset()))
        if asked.body["max_tokens"] > STREAM_ABOVE:
            asked.body["stream"] = True
        headers = [*without(request.headers, _REPLACED), (b"Content-Type", b"application/json")]
        if betas := asked.body.pop("betas", None):
            headers.append((b"anthropic-beta", ",".join(map(str, betas)).encode()))
        question = UpstreamRequest(
            "POST", "/messages", headers=headers, body=orjson.dumps(asked.body),
            client_authorization=request.client_authorization,
        )  # fmt: skip
        return await self._raw(question, key, headers), asked

    async def _answer(self, response: UpstreamResponse, asked: Translated, stream: bool) -> UpstreamResponse:
        told = dropped_header(asked.dropped)
        if stream:
            chunks = ChunkStream(asked.body["model"], include_usage=asked.include_usage)
            headers = [*_answer_headers(response.headers, b"text/event-stream; charset=utf-8"), *told]
            return ConvertedResponse(response, chunks.feed, chunks.end, headers=headers)
        headers = [*_answer_headers(response.headers, b"application/json"), *told]
        try:
            if not asked.body.get("stream"):
                answer = to_completion(answer_object(await response.read(MAX_ANSWER)))
            else:
                answer = await _assembled(response, asked.body["model"])
        finally:
            response.close()
        if "error" in answer:
            status = STATUS_OF_ERROR.get(str(answer["error"]["type"]), 502)
            return BytesResponse(orjson.dumps(answer), status=status, headers=headers)
        return BytesResponse(orjson.dumps(answer), headers=headers)

    async def _error(self, response: UpstreamResponse) -> bytes:
        must_be_plain(response)
        try:
            return await response.read(MAX_ERROR)
        finally:
            response.close()

    async def _raw(self, request: UpstreamRequest, key: str | None, headers: Headers) -> UpstreamResponse:
        """`request` with this vendor's credentials and version."""
        fields = list(headers)
        if header(fields, b"anthropic-version") is None:
            fields.append((b"anthropic-version", VERSION))
        fields.append((b"Accept-Encoding", b"identity"))
        forwarded = request.client_authorization if self._forward_auth else None
        if forwarded is not None and forwarded[7:].startswith(b"sk-ant-api"):
            fields.append((b"x-api-key", forwarded[7:]))  # an API key; only OAuth tokens are bearers here
            forwarded = None
        elif forwarded is None and key is not None:
            fields.append((b"x-api-key", key.encode()))
        question = replace(request, headers=fields, client_authorization=forwarded)
        return await self._ask(question, None)

    async def _get(self, path: str, query: str, key: str | None) -> dict[str, Any]:
        """A JSON object of the vendor's. Raises the UpstreamError family."""
        chosen = key or (self._keys[0] if self._keys else None)
        question = UpstreamRequest("GET", path, query, [(b"Accept", b"application/json")])
        response = await self._raw(question, chosen, question.headers)
        try:
            await must_list(self.name, response)
            must_be_plain(response)
            return answer_object(await response.read(MAX_ANSWER))
        finally:
            response.close()


async def _assembled(response: UpstreamResponse, model: str) -> dict[str, Any]:
    """A streamed answer as the one completion it makes, or `{"error": …}`. Raises the UpstreamError family."""
    chunks = ChunkStream(model, include_usage=True)
    events = EventSplitter()
    fold = MessageFold()
    ended = False
    while not ended:
        data = await response.chunk()
        ended = not data
        for event in events.feed(chunks.feed(data) if data else chunks.end()):
            if event.data != b"[DONE]":
                chunk = orjson.loads(event.data)
                if "error" in chunk:
                    return {"error": chunk["error"]}
                fold.feed(chunk)
    return fold.completion()


async def _model_answer(response: UpstreamResponse) -> UpstreamResponse:
    try:
        entry = answer_object(await response.read(MAX_ERROR))
    finally:
        response.close()
    if not isinstance(entry.get("id"), str):
        raise UpstreamInvalid("The provider sent a model that is not understood.")
    return json_response(model_object(entry))


def _limited(chat: dict[str, Any]) -> bool:
    """Whether the caller itself says how much may be written."""
    return chat.get("max_tokens") is not None or chat.get("max_completion_tokens") is not None


def _message_of(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""


def _error_answer(response: UpstreamResponse, body: bytes, asked: Translated) -> BytesResponse:
    translated = translate_error(body)
    kind = b"application/json" if translated != body else header(response.headers, b"content-type") or b"text/plain"
    headers = [*_answer_headers(response.headers, kind), *dropped_header(asked.dropped)]
    return BytesResponse(translated, status=response.status, headers=headers)


def _answer_headers(source: Headers, content_type: bytes) -> list[tuple[bytes, bytes]]:
    """The vendor's header fields, and under the names OpenAI's clients look for."""
    made = body_headers(source, content_type)
    named = header(source, b"x-request-id") is not None
    for name, value in source:
        lower = name.lower()
        if lower == b"request-id" and not named:
            made.append((b"x-request-id", value))
        elif lower in _RATE_LIMITS:
            made.append((_RATE_LIMITS[lower], value))
    return made

"""A connection to Google's OpenAI-compatible endpoint, with the few repairs its dialect needs."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

import orjson

from openai_proxy.dialects.chat.google.repair import StreamRepair, repair_completion, unwrap_error
from openai_proxy.dialects.chat.google.request import PREFIX, Edits, adapt, learn_unknown
from openai_proxy.dialects.chat.google.signatures import Signatures
from openai_proxy.errors import ProxyError, UpstreamError, UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse
from openai_proxy.protocols.json_members import edit, parse_object
from openai_proxy.upstream.inprocess import BytesResponse, ConvertedResponse, collect, error_response
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

_BAD_SIGNATURE: Final = re.compile(r"thought.?signature", re.IGNORECASE)
_MAX_LEARNT: Final = 64
_SMALL: Final = 1 << 16  # bytes of a body in which the model's prefix is looked for on other paths than chat


class GoogleProvider:
    """See provider.Provider. `ask` sends over the pool of this connection; `keys` are the configured ones."""

    api_type: ClassVar[str] = "google"

    def __init__(self, name: str, ask: Ask, *, keys: Sequence[str] = ()) -> None:
        self.name = name
        self._ask = ask
        self._keys = tuple(keys)
        self._unknown: frozenset[str] = frozenset()
        self._signatures = Signatures()
        self._told = Told(name)

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """Ask with `key`. Only chat completions are looked into; of anything else only the model's name and errors."""
        if request.method == "POST" and request.path.rstrip("/") == "/chat/completions":
            try:
                return await self._chat(request, key)
            except UpstreamError:
                raise
            except ProxyError as error:
                return error_response(error)
        body = request.body
        if isinstance(body, bytes) and len(body) <= _SMALL and b'"models/' in body:
            body = _without_prefix(body)
        asked = request if body is request.body else replace(request, body=body)
        response = await self._ask(asked, key)
        return response if response.status < 400 else await self._error_answer(response, ())

    async def list_models(self) -> list[dict[str, Any]]:
        """Its models, without the prefix `models/` that the endpoint itself does not take back."""
        request = UpstreamRequest("GET", "/models", headers=[(b"Accept", b"application/json"), _IDENTITY])
        response = await self._ask(request, self._keys[0] if self._keys else None)
        try:
            await must_list(self.name, response)
            must_be_plain(response)
            document = answer_object(await response.read(MAX_ANSWER))
        finally:
            response.close()
        listed = document.get("data")
        if not isinstance(listed, list):
            raise UpstreamInvalid(f"The connection '{self.name}' gave no model list.")
        return [
            {**model, "id": model["id"].removeprefix(PREFIX)}
            for model in listed
            if isinstance(model, dict) and isinstance(model.get("id"), str)
        ]

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _chat(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        data = await collect(request.body, MAX_BODY)
        chat = await asyncio.to_thread(parse_object, data) if len(data) > IN_THREAD else parse_object(data)
        edits = adapt(chat, self._unknown, self._signatures)
        response = await self._attempt(request, key, data, edits)
        if response.status == 400:
            body, plain = await self._error(response)
            again = self._learn(chat, plain)
            if again is None:
                return self._failed(response, body, edits.dropped)
            edits = again
            response = await self._attempt(request, key, data, edits)
        if response.status >= 400:
            return await self._error_answer(response, edits.dropped)
        must_be_plain(response)
        self._told.tell(edits.dropped)
        told = dropped_header(edits.dropped)
        kind = header(response.headers, b"content-type") or b""
        if b"text/event-stream" in kind.lower():
            repair = StreamRepair(self._signatures)
            headers = [*without(response.headers, {b"content-length"}), *told]
            return ConvertedResponse(response, repair.feed, repair.end, headers=headers)
        try:
            body = repair_completion(await response.read(MAX_ANSWER), self._signatures)
        finally:
            response.close()
        headers = [*body_headers(response.headers, kind or b"application/json"), *told]
        return BytesResponse(body, status=response.status, headers=headers)

    def _learn(self, chat: dict[str, Any], message: str) -> Edits | None:
        """What to ask instead after a 400 that says `message`; None if it is the caller's to read."""
        unknown = learn_unknown(message) - self._unknown
        if unknown and len(self._unknown) < _MAX_LEARNT:
            before = adapt(chat, self._unknown, self._signatures)
            self._unknown |= unknown
            edits = adapt(chat, self._unknown, self._signatures)
            return edits if edits != before else None
        if _BAD_SIGNATURE.search(message):
            edits = adapt(chat, self._unknown, self._signatures, fresh_signatures=True)
            return edits if "messages" in edits.replace else None
        return None

    async def _attempt(self, request: UpstreamRequest, key: str | None, data: bytes, edits: Edits) -> UpstreamResponse:
        body = edit(data, edits.as_json(), edits.remove) if edits.replace or edits.remove else data
        headers: Headers = [*without(request.headers, {b"accept-encoding"}), _IDENTITY]
        return await self._ask(replace(request, headers=headers, body=body, length=None), key)

    async def _error(self, response: UpstreamResponse) -> tuple[bytes, str]:
        """The body of an error, and its message."""
        try:
            body = await response.read(MAX_ERROR)
        finally:
            response.close()
        try:
            return body, str(orjson.loads(unwrap_error(body)[0])["error"]["message"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return body, body.decode(errors="replace")

    async def _error_answer(self, response: UpstreamResponse, dropped: Sequence[str]) -> UpstreamResponse:
        coding = header(response.headers, b"content-encoding")
        if coding is not None and coding.lower() != b"identity":
            return response  # asked for by the client itself, on a path we do not look into
        body, _ = await self._error(response)
        return self._failed(response, body, dropped)

    def _failed(self, response: UpstreamResponse, body: bytes, dropped: Sequence[str]) -> BytesResponse:
        unwrapped, delay = unwrap_error(body)
        kind = header(response.headers, b"content-type") or b"application/json"
        headers = [*body_headers(response.headers, kind), *dropped_header(dropped)]
        if delay is not None and header(headers, b"retry-after") is None:
            headers.append((b"Retry-After", b"%d" % -(-delay // 1)))  # whole seconds, rounded up
        return BytesResponse(unwrapped, status=response.status, headers=headers)


_IDENTITY: Final = (b"Accept-Encoding", b"identity")


def _without_prefix(body: bytes) -> bytes:
    """A JSON body whose `model` lost its prefix; any other body as it is."""
    try:
        model = parse_object(body).get("model")
    except ProxyError:
        return body  # not JSON: whatever it is, it is not ours to change
    if not isinstance(model, str) or not model.startswith(PREFIX):
        return body
    return edit(body, {"model": orjson.dumps(model.removeprefix(PREFIX))})

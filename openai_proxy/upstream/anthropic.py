"""A connection to Anthropic: chat completions are translated, `/messages` and everything else is passed through."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from openai_proxy.dialects import dialect
from openai_proxy.dialects.messages.dialect import limited
from openai_proxy.dialects.messages.read_message import model_object
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse, header
from openai_proxy.upstream.answer_body import answer_object
from openai_proxy.upstream.anthropic_models import ModelEntries
from openai_proxy.upstream.inprocess import json_response, refusal_as_answer
from openai_proxy.upstream.lessons import ConnectionLessons, LessonTable
from openai_proxy.upstream.model_list import listing
from openai_proxy.upstream.translating import Ask, chat_of, relabelled, without
from openai_proxy.upstream.translator import Translator

VERSION: Final = b"2023-06-01"
_REPLACED: Final = frozenset(
    {b"x-api-key", b"authorization", b"content-type", b"content-length", b"accept", b"accept-encoding",
     b"openai-organization", b"openai-project", b"openai-beta"}
)  # fmt: skip
_NAMES: Final = {
    b"request-id": b"x-request-id",
    **{
        b"anthropic-ratelimit-%b-%b" % (ours, part): b"x-ratelimit-%b-%b" % (part, ours)
        for ours in (b"requests", b"tokens")
        for part in (b"limit", b"remaining", b"reset")
    },
}
"""The vendor's header fields, and the names that OpenAI's clients look for."""


class AnthropicProvider:
    """See provider.Provider.

    `ask` sends over the pool of this connection, whose base is the vendor's `/v1`; `keys` are the configured ones, used
    for the model list; with `forward_auth` the caller's own bearer token is sent instead.
    """

    api_type: ClassVar[str] = "anthropic"

    def __init__(
        self,
        name: str,
        ask: Ask,
        *,
        keys: Sequence[str] = (),
        forward_auth: bool = False,
        lessons: ConnectionLessons | None = None,
    ) -> None:
        self.name = name
        self._ask = ask
        self._keys = tuple(keys)
        self._forward_auth = forward_auth
        self._translator = Translator(
            name, dialect("messages"), lessons if lessons is not None else LessonTable().of(name)
        )
        self.models = ModelEntries(name, self._get)

    def speaks(self, dialect: str) -> bool:
        return dialect == "messages"

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """Send a request with `key`. If it has no equivalent in the Messages API, the answer has status 400."""
        path = request.path.rstrip("/")
        if request.method == "POST" and path == CHAT_PATH:
            return await refusal_as_answer(self._chat(request, key))
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
        """Cancel background work."""
        await self.models.aclose()

    async def _chat(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        chat = await chat_of(request)
        model = chat.get("model")
        entry: dict[str, Any] | None = None
        if isinstance(model, str):
            effort = chat.get("reasoning_effort") is not None or chat.get("reasoning") is not None
            entry = await self.models.entry(model, key, wait=effort or not limited(chat))

        async def send(question: UpstreamRequest) -> UpstreamResponse:
            return relabelled(await self._raw(question, key, question.headers), _NAMES)

        outgoing = replace(request, headers=without(request.headers, _REPLACED))
        return await self._translator.ask(outgoing, chat, send, entry)

    async def _raw(self, request: UpstreamRequest, key: str | None, headers: Headers) -> UpstreamResponse:
        """`request` with this vendor's credentials and version."""
        fields = list(headers)
        if header(fields, b"anthropic-version") is None:
            fields.append((b"anthropic-version", VERSION))
        if header(fields, b"accept-encoding") is None:
            fields.append((b"Accept-Encoding", b"identity"))
        forwarded = request.client_authorization if self._forward_auth else None
        if forwarded is not None and forwarded[7:].startswith(b"sk-ant-api"):
            fields.append((b"x-api-key", forwarded[7:]))  # an API key; only OAuth tokens are bearer tokens here
            forwarded = None
        elif forwarded is None and key is not None:
            fields.append((b"x-api-key", key.encode()))
        question = replace(request, headers=fields, client_authorization=forwarded)
        return await self._ask(question, None)

    async def _get(self, path: str, query: str, key: str | None) -> dict[str, Any]:
        """A JSON object from the vendor. Raises the UpstreamError family."""
        chosen = key or (self._keys[0] if self._keys else None)
        question = UpstreamRequest("GET", path, query, [(b"Accept", b"application/json")])
        return await listing(self.name, await self._raw(question, chosen, question.headers))


async def _model_answer(response: UpstreamResponse) -> UpstreamResponse:
    try:
        entry = await answer_object(response)
    finally:
        response.close()
    if not isinstance(entry.get("id"), str):
        raise UpstreamInvalid("The provider sent a model that is not understood.")
    return json_response(model_object(entry))

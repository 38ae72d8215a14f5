"""A connection to any provider with the OpenAI API: OpenAI, OpenRouter, Ollama, llama.cpp, vLLM, LM Studio …"""

from typing import Any

from openai_proxy import endpoints
from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse
from openai_proxy.upstream import http_client
from openai_proxy.upstream.by_responses import RESPONSES, RESPONSES_PATH, ByResponses
from openai_proxy.upstream.learning import Learning
from openai_proxy.upstream.lessons import ConnectionLessons
from openai_proxy.upstream.model_list import entries_of, listing
from openai_proxy.upstream.pool import Pool
from openai_proxy.upstream.response import StreamedResponse

OPENAI_HOST = "api.openai.com"

_CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
"""Header fields in which a connection may have its key, instead of `api_key`."""


class OpenAIProvider:
    """See provider.Provider."""

    api_type = "openai"

    def __init__(self, config: ConnectionConfig, pool: Pool, lessons: ConnectionLessons) -> None:
        self.name = pool.name
        self.config = config
        self.pool = pool
        self.limits = config.timeout
        self.lessons = lessons
        origin = pool.origin
        self._by_responses = ByResponses(
            pool.name, config.api, self._ask_by_responses, lessons, at_openai=origin.host == OPENAI_HOST
        )
        self._learning = Learning(lessons, self.send_as_is, self._by_responses)
        extra = {name.lower(): value for name, value in config.headers.items()}
        own: list[tuple[str, str]] = list(config.headers.items())
        if config.organization:
            own.append(("OpenAI-Organization", config.organization))
            extra["openai-organization"] = config.organization
        if config.project:
            own.append(("OpenAI-Project", config.project))
            extra["openai-project"] = config.project
        self.replaced = frozenset(name.encode() for name in extra)
        """Lower-case names of client header fields that ours replace."""
        self._prefix = origin.target_prefix.encode()
        self._host_line = b"Host: " + origin.authority.encode() + b"\r\n"
        if origin.relayed and origin.proxy is not None and origin.proxy.authorization is not None:
            own.append(("Proxy-Authorization", origin.proxy.authorization))
        self._own_lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in own)
        self._own_lines_beside_callers = b"".join(
            f"{name}: {value}\r\n".encode() for name, value in own if name.lower() != "authorization"
        )
        self._own_sets_authorization = "authorization" in extra
        proofs = (v.rpartition(" ")[2] for name, v in config.headers.items() if name.lower() in _CREDENTIALS)
        self._own_credentials = tuple(proof.encode() for proof in proofs if proof)

    def credentials(self, key: str | None) -> tuple[bytes, ...]:
        """The credentials of a request with `key`: the key, and those in the connection's own header lines."""
        return (key.encode(), *self._own_credentials) if key else self._own_credentials

    def start_of_head(self, method: bytes, path: bytes, key: str | None, client_authorization: bytes | None) -> bytes:
        """Request line, Host, credentials and the connection's own header lines."""
        authorization: bytes | None = None
        own_lines = self._own_lines
        if self.config.forward_auth and client_authorization is not None:
            authorization = client_authorization
            own_lines = self._own_lines_beside_callers
        elif key is not None and not self._own_sets_authorization:
            authorization = b"Bearer " + key.encode()
        line = b"%b %b%b HTTP/1.1\r\n%b" % (method, self._prefix, path, self._host_line)
        if authorization is not None:
            line += b"Authorization: " + authorization + b"\r\n"
        return line + own_lines

    def post_head(self, path: str, key: str | None, fields: Headers) -> bytes:
        """The head of a POST with the client's `fields`, up to the number of its Content-Length; for the fast path."""
        parts = [self.start_of_head(b"POST", path.encode(), key, None)]
        replaced = self.replaced
        if replaced:
            parts += [b"%b: %b\r\n" % field for field in fields if field[0].lower() not in replaced]
        else:
            parts += [b"%b: %b\r\n" % field for field in fields]
        parts.append(b"Content-Length: ")
        return b"".join(parts)

    def head(self, request: UpstreamRequest, key: str | None) -> tuple[bytes, bool]:
        """The whole request head, and whether a streamed body goes in chunks."""
        path = request.path + ("?" + request.query if request.query else "")
        parts = [
            self.start_of_head(
                request.method.encode(), path.encode("utf-8", "surrogateescape"), key, request.client_authorization
            )
        ]
        replaced = self.replaced
        parts += [b"%b: %b\r\n" % field for field in request.headers if field[0].lower() not in replaced]
        body = request.body
        chunked = False
        if isinstance(body, bytes):
            parts.append(b"Content-Length: %d\r\n\r\n" % len(body))
        elif body is None:
            # RFC 9110 §8.6: methods that normally have a body must say that there is none.
            parts.append(b"Content-Length: 0\r\n\r\n" if request.method in ("POST", "PUT", "PATCH") else b"\r\n")
        elif request.length is not None:
            parts.append(b"Content-Length: %d\r\n\r\n" % request.length)
        else:
            chunked = True
            parts.append(b"Transfer-Encoding: chunked\r\n\r\n")
        return b"".join(parts), chunked

    def speaks(self, dialect: str) -> bool:
        """See Provider. Whether a server supports Responses is found out by trying."""
        return dialect == RESPONSES and self.config.api != "chat" and not self.lessons.lacks(RESPONSES_PATH)

    def relays(self, dialect: str, model: str | None) -> bool:
        """True if a request for `model` is sent unchanged, as far as we know; checked for every request."""
        if dialect == "chat":
            return not (self.lessons or self._by_responses.looks) or not self._watches(model)
        return dialect != RESPONSES or self.speaks(dialect)

    def fitted(self, chat: dict[str, Any]) -> dict[str, Any]:
        """`chat`, which was created here, adapted to this connection."""
        if self._by_responses.wanted(chat):
            return chat
        from openai_proxy.dialects.responses.memory import without_items

        return without_items(chat)

    def _watches(self, model: str | None) -> bool:
        return self.lessons.knows(model) or self._by_responses.watches(model)

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        if request.path == CHAT_PATH and request.method == "POST":
            return await self._learning.ask(request, key)
        return await self.send_as_is(request, key)

    async def reconsider(
        self, request: UpstreamRequest, response: UpstreamResponse, key: str | None
    ) -> UpstreamResponse:
        """See learning.LearnsFromRefusals."""
        if request.path != CHAT_PATH or request.method != "POST":
            return response
        return await self._learning.reconsider(request, response, key)

    async def send_as_is(
        self, request: UpstreamRequest, key: str | None, *, replayable: bool | None = None
    ) -> StreamedResponse:
        """Send a request, whatever is known about the model. `replayable` is as in endpoints.Endpoint, its default."""
        head, chunked = self.head(request, key)
        replay = endpoints.at(request.path).replayable if replayable is None else replayable
        return await http_client.send(
            self.pool, request.method, head, request.body, self.limits, chunked=chunked, replay=replay
        )

    async def _ask_by_responses(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        return await self.send_as_is(request, key, replayable=True)  # nothing of it is stored there

    async def list_models(self) -> list[dict[str, Any]]:
        """See Provider. Understands OpenAI's list object and a bare list of models."""
        key = self.config.api_keys[0] if self.config.api_keys else None
        response = await self.send(UpstreamRequest("GET", "/models", headers=[(b"Accept", b"application/json")]), key)
        return entries_of(self.name, await listing(self.name, response))

    async def aclose(self) -> None:
        """See Provider: the pool belongs to the process, so there is nothing to close."""

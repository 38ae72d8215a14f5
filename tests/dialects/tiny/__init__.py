"""A dialect of a dozen lines per direction, to show what one needs: this folder, and a row in `DIALECTS`.

A request is `{"model", "ask", "stream"}`, an answer `{"say", "tokens"}`, a stream lines of `+text` that end in `.`.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from openai_proxy.dialects.base import Chunk, Dialect, IncomingRequest, Lessons, OutgoingRequest
from openai_proxy.dialects.chat.chunks import chunk, completion_of
from openai_proxy.errors import BadRequest, UpstreamInvalid, UpstreamTruncated


class TinyReader:
    def __init__(self, model: str) -> None:
        self.model = model
        self.ended = False
        self._rest = b""

    def feed(self, data: bytes) -> list[Chunk]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        made: list[Chunk] = []
        for line in lines:
            if line == b"." and not self.ended:
                self.ended = True
                made.append(chunk("t", self.model, {}, finish_reason="stop"))
            elif not self.ended:
                made.append(chunk("t", self.model, {"content": line[1:].decode()}))
        return made

    def end(self) -> list[Chunk]:
        if not self.ended:
            raise UpstreamTruncated("The provider broke off in the middle of its answer.")
        return []

    def whole(self, data: bytes) -> dict[str, Any]:
        try:
            answer = orjson.loads(data)
            usage = {"completion_tokens": answer["tokens"]}
            return completion_of(self.model, {"role": "assistant", "content": answer["say"]}, "stop", usage)
        except (ValueError, KeyError, TypeError):
            raise UpstreamInvalid("The provider sent an answer that is not understood.") from None

    def error(self, status: int, data: bytes) -> dict[str, Any]:
        return {"message": data.decode(errors="replace"), "type": "api_error", "param": None, "code": None}


class TinyWriter:
    stream_type = b"text/tiny"

    def chunk(self, chunk: Chunk) -> bytes:
        pieces = [choice["delta"].get("content") for choice in chunk["choices"]]
        return b"".join(b"+%b\n" % piece.encode() for piece in pieces if piece)

    def heartbeat(self) -> bytes:
        return b"+\n"

    def end(self) -> bytes:
        return b".\n"

    def error(self, error: Mapping[str, Any]) -> bytes:
        return b"!" + str(error["message"]).encode() + b"\n"

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        usage = completion.get("usage") or {}
        say = completion["choices"][0]["message"]["content"]
        return orjson.dumps({"say": say, "tokens": usage.get("completion_tokens", 0)})


class Tiny:
    name = "tiny"

    def read_request(self, path: str, document: dict[str, Any]) -> IncomingRequest:
        if not isinstance(document.get("ask"), str):
            raise BadRequest("'ask' must be a text.", param="ask")
        chat = {"model": document.get("model"), "messages": [{"role": "user", "content": document["ask"]}]}
        return IncomingRequest(chat | {"stream": True} if document.get("stream") else chat)

    def write_request(self, chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
        dropped = tuple(name for name in chat if name not in ("model", "messages", "stream"))
        body = {"model": chat["model"], "ask": chat["messages"][-1]["content"], "stream": bool(chat.get("stream"))}
        return OutgoingRequest("/tiny", body, dropped)

    def read_answer(self, request: OutgoingRequest) -> TinyReader:
        return TinyReader(request.body["model"])

    def write_answer(self, request: IncomingRequest, model: str) -> TinyWriter:
        return TinyWriter()

    def error_body(self, status: int, error: Mapping[str, Any]) -> bytes:
        return b"!" + str(error["message"]).encode()


DIALECT: Final[Dialect] = Tiny()

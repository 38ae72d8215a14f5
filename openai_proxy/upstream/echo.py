"""The built-in offline model `echo`: a backend inside the daemon that implements the whole chat protocol.

It answers with the last user text, so that a fresh clone works before any key is configured; it streams, counts, obeys
`max_tokens` and `stop`, calls tools that are named in the text (echo_calls.py) and repeats their results, so that
clients and tool loops can be tried without a provider. A token of echo is a word with the space before it.
"""

import asyncio
import base64
import hashlib
import math
import re
import struct
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from openai_proxy.dialects.chat.chunks import DONE, ChunkWriter, completion_of, new_id, usage_of
from openai_proxy.dialects.chat.dialect import asks_for_usage
from openai_proxy.dialects.odd_input import understood
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.errors import BadRequest, NotFound, ProxyError
from openai_proxy.exchange import UpstreamRequest, UpstreamResponse
from openai_proxy.tasks import beside
from openai_proxy.upstream.echo_calls import asked_calls, encode_arguments, text_of, tool_results
from openai_proxy.upstream.inprocess import StreamResponse, error_response, json_response, models_answer
from openai_proxy.upstream.translating import chat_of

MODEL = "echo"
_TOKEN = re.compile(r"\s*\S+|\s+\Z")
_BREATH = 32  # chunks between two turns for the rest of the loop
_DIMENSIONS = 8
_MAX_DIMENSIONS = 4096
_MAX_NUMBERS = 1 << 20  # in all vectors of one answer
_MAX_STOPS = 16
_STARTED = int(time.time())


@dataclass(frozen=True, slots=True)
class _EchoAnswer:
    """Echo's answer to one prompt: tokens, or calls, and the finish reason."""

    tokens: list[str]
    calls: list[tuple[str, str, str]]  # id, name, arguments
    finish: str
    usage: dict[str, Any]

    @property
    def text(self) -> str:
        return "".join(self.tokens)


class EchoProvider:
    """The `echo` connection. Needs no key and no network."""

    api_type: ClassVar[str] = "echo"

    def __init__(self, name: str = MODEL) -> None:
        self.name = name

    def speaks(self, dialect: str) -> bool:
        """See Provider."""
        return False

    async def send(self, request: UpstreamRequest, key: str | None = None) -> UpstreamResponse:
        """Answer `request`; errors are OpenAI-shaped answers, never exceptions. `key` is ignored."""
        try:
            return await self._send(request)
        except ProxyError as error:
            return error_response(error)

    async def list_models(self) -> list[dict[str, Any]]:
        """The one model, as an OpenAI model object."""
        return [{"id": MODEL, "object": "model", "created": _STARTED, "owned_by": "openai-proxy"}]

    async def aclose(self) -> None:
        """There is nothing to release."""

    async def _send(self, request: UpstreamRequest) -> UpstreamResponse:
        path = request.path.rstrip("/")
        (model,) = await self.list_models()
        if (models := models_answer(path, model)) is not None:
            return models
        answer = {CHAT_PATH: _chat, "/completions": _completions, "/embeddings": _embeddings}.get(path)
        if answer is None or request.method != "POST":
            raise NotFound("The echo model does not offer this endpoint.")
        body = await chat_of(request)
        return await beside(request.large, understood, answer, body)


def _chat(body: dict[str, Any]) -> UpstreamResponse:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("'messages' must be a list with at least one message.", param="messages")
    answer = _answer(body, messages)
    model = _model(body)
    if body.get("stream"):
        return StreamResponse(_paced(_chat_chunks(answer, model, asks_for_usage(body))))
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.calls:
        message["content"] = None
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in answer.calls
        ]
    return json_response(completion_of(model, message, answer.finish, answer.usage))


def _answer(body: dict[str, Any], messages: list[dict[str, Any]]) -> _EchoAnswer:
    prompt = sum(_count(text_of(message.get("content"))) for message in messages)
    text = tool_results(messages)
    if text is None:
        users = [message for message in messages if message.get("role") == "user"]
        text = text_of((users or messages)[-1].get("content"))
        if calls := _calls(body, text):
            spoken = sum(_count(arguments) + 1 for _, _, arguments in calls)
            return _EchoAnswer([], calls, "tool_calls", usage_of(prompt, spoken))
    tokens, finish = _cut(text, body)
    return _EchoAnswer(tokens, [], finish, usage_of(prompt, len(tokens)))


def _calls(body: dict[str, Any], text: str) -> list[tuple[str, str, str]]:
    choice = body.get("tool_choice")
    names: list[str] = []
    for tool in body.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            names.append(function["name"])
    if not names or choice == "none":
        return []
    if isinstance(choice, dict):
        forced = (choice.get("function") or {}).get("name")
        if forced not in names:
            raise BadRequest("'tool_choice' names a tool that is not in 'tools'.", param="tool_choice")
        names = [forced]
    asked = asked_calls(text, names)
    if not asked and (choice == "required" or isinstance(choice, dict)):
        asked = [(names[0], {})]
    if body.get("parallel_tool_calls") is False:
        asked = asked[:1]
    return [(new_id("call_"), name, encode_arguments(arguments)) for name, arguments in asked]


def _cut(text: str, body: dict[str, Any]) -> tuple[list[str], str]:
    """The tokens of `text` up to the first stop sequence and within `max_tokens`, and the finish reason."""
    stop = body.get("stop")
    if isinstance(stop, list) and len(stop) > _MAX_STOPS:
        raise BadRequest(f"'stop' takes at most {_MAX_STOPS} texts.", param="stop")
    for sequence in [stop] if isinstance(stop, str) else stop or ():
        if isinstance(sequence, str) and sequence and (at := text.find(sequence)) >= 0:
            text = text[:at]
    tokens = _TOKEN.findall(text)
    name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    limit = body.get(name)
    if limit is None:
        return tokens, "stop"
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise BadRequest(f"'{name}' must be a whole number of at least 1.", param=name)
    return tokens[:limit], "length" if len(tokens) > limit else "stop"


def _chat_chunks(answer: _EchoAnswer, model: str, with_usage: bool) -> Iterator[bytes]:
    chunks = ChunkWriter(model, usage_null=with_usage)
    yield chunks.role()
    for token in answer.tokens:
        yield chunks.content(token)
    for index, (call_id, name, arguments) in enumerate(answer.calls):
        yield chunks.tool_start(index, call_id, name)
        yield chunks.tool_arguments(index, arguments)
    yield chunks.finish(answer.finish)
    if with_usage:
        yield chunks.usage(answer.usage)
    yield DONE


async def _paced(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """`pieces`, letting the rest of the loop run now and then, so that a long answer does not block it."""
    for count, piece in enumerate(pieces, 1):
        yield piece
        if count % _BREATH == 0:
            await asyncio.sleep(0)


def _completions(body: dict[str, Any]) -> UpstreamResponse:
    prompt = body.get("prompt", "")
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if not prompts or not all(isinstance(text, str) for text in prompts):
        raise BadRequest("'prompt' must be a text or a list of texts.", param="prompt")
    answers = [_cut(text, body) for text in prompts]
    usage = usage_of(sum(map(_count, prompts)), sum(len(tokens) for tokens, _ in answers))
    head = {"id": new_id("cmpl-"), "object": "text_completion", "created": int(time.time()), "model": _model(body)}

    def choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}

    def events() -> Iterator[bytes]:
        for index, (tokens, finish) in enumerate(answers):
            for token in tokens:
                yield b"data: " + orjson.dumps({**head, "choices": [choice(index, token, None)]}) + b"\n\n"
            yield b"data: " + orjson.dumps({**head, "choices": [choice(index, "", finish)]}) + b"\n\n"
        if asks_for_usage(body):
            yield b"data: " + orjson.dumps({**head, "choices": [], "usage": usage}) + b"\n\n"
        yield DONE

    if body.get("stream"):
        return StreamResponse(_paced(events()))
    choices = [choice(index, "".join(tokens), finish) for index, (tokens, finish) in enumerate(answers)]
    return json_response({**head, "choices": choices, "usage": usage})


def _embeddings(body: dict[str, Any]) -> UpstreamResponse:
    given = body.get("input")
    several = isinstance(given, list) and not all(isinstance(item, int) for item in given)
    inputs: list[Any] = given if several and isinstance(given, list) else [given]
    if not all(isinstance(item, (str, list)) for item in inputs) or not inputs:
        raise BadRequest("'input' must be a text or tokens, or a list of them.", param="input")
    size = body.get("dimensions", _DIMENSIONS)
    if not isinstance(size, int) or not 1 <= size <= _MAX_DIMENSIONS:
        raise BadRequest(f"'dimensions' must be a whole number from 1 to {_MAX_DIMENSIONS}.", param="dimensions")
    if size * len(inputs) > _MAX_NUMBERS:
        raise BadRequest("The input is too large for one request.", param="input")
    packed = body.get("encoding_format") == "base64"
    data = []
    for index, item in enumerate(inputs):
        vector = _vector(item if isinstance(item, str) else orjson.dumps(item).decode(), size)
        shown: Any = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if packed else vector
        data.append({"object": "embedding", "index": index, "embedding": shown})
    tokens = sum(_count(item) if isinstance(item, str) else len(item) for item in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_response({"object": "list", "data": data, "model": _model(body), "usage": usage})


def _vector(text: str, size: int) -> list[float]:
    """A vector of length 1 that depends only on `text`."""
    raw = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(size * 2)
    values = [number / 32768 - 1 for number in struct.unpack(f"<{size}H", raw)]
    norm = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / norm for value in values]


def _count(text: str) -> int:
    return len(_TOKEN.findall(text))


def _model(body: dict[str, Any]) -> str:
    model = body.get("model") or MODEL
    if not isinstance(model, str):
        raise BadRequest("'model' must be a text.", param="model")
    return model

"""A transformers model directory, in the child. The only file that knows torch."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteria, TextIteratorStreamer, set_seed

from openai_proxy.upstream.local.engine import EngineRefused, Run

_DEFAULT_NEW_TOKENS = 2048  # if the request sets none: some models never stop on their own


class Model:
    """Tokenizer and weights from `path`; on the GPU if there is one. No code from the directory is run."""

    def __init__(self, path: str) -> None:
        if not Path(path).is_dir():
            raise EngineRefused("The model's directory does not exist.", status=503, code="local_model_missing")
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path)
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        self._model: Any = AutoModelForCausalLM.from_pretrained(path, dtype="auto").to(device).eval()
        self._device = device

    def run(self, body: dict[str, Any], cancelled: threading.Event) -> Run:
        """See worker.Engine."""
        inputs = self._inputs(body)
        length = int(inputs["input_ids"].shape[1])
        window = getattr(self._model.config, "max_position_embeddings", None)
        asked = body.get("max_completion_tokens") or body.get("max_tokens")
        room = window - length if isinstance(window, int) else None
        if room is not None and room < 1:
            raise EngineRefused("The conversation is longer than the model's context.", code="context_length_exceeded")
        limit = asked if isinstance(asked, int) and asked > 0 else _DEFAULT_NEW_TOKENS
        limit = min(limit, room) if room is not None else limit
        return _ModelRun(self, inputs, length, limit, self._sampling(body), cancelled)

    def start(self, inputs: Any, limit: int, sampling: dict[str, Any], counter: "_Counter") -> "_Generation":
        """Start to generate in a thread; the pieces come from its streamer."""
        return _Generation(self._model, self._tokenizer, inputs, limit, sampling, counter)

    def _inputs(self, body: dict[str, Any]) -> Any:
        messages = [_plain(message) for message in body["messages"]]
        tools = body.get("tools") if body.get("tool_choice") != "none" else None
        if self._tokenizer.chat_template is None:
            text = "\n".join(f"{message['role']}: {message['content']}" for message in messages) + "\nassistant:"
            return self._tokenizer(text, return_tensors="pt").to(self._device)
        try:
            return self._tokenizer.apply_chat_template(
                messages, tools=tools or None, add_generation_prompt=True, return_tensors="pt", return_dict=True
            ).to(self._device)
        except (ValueError, TypeError, KeyError) as error:
            raise EngineRefused(f"The model's chat template refuses this conversation: {error}") from None
        except Exception as error:
            if type(error).__module__.startswith("jinja2"):  # raise_exception() of the template itself
                raise EngineRefused(f"The model's chat template refuses this conversation: {error}") from None
            raise

    def _sampling(self, body: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        temperature = body.get("temperature")
        if isinstance(temperature, (int, float)):
            made["do_sample"] = temperature > 0
            if temperature > 0:
                made["temperature"] = float(temperature)
            else:  # the sampling settings of the model's generation_config do not apply
                made.update(temperature=None, top_p=None, top_k=None)
        if made.get("do_sample") is not False:
            for name in ("top_p", "top_k"):
                if body.get(name) is not None:
                    made[name] = body[name]
                    made["do_sample"] = True
        if body.get("repetition_penalty") is not None:
            made["repetition_penalty"] = float(body["repetition_penalty"])
        if isinstance(body.get("seed"), int):
            set_seed(body["seed"] % (1 << 32))
        return made


class _Counter(StoppingCriteria):  # type: ignore[misc]  # transformers is an optional extra without types
    """Called after every token: counts them, and ends the answer once nobody needs it any more."""

    def __init__(self, prompt: int, cancelled: threading.Event) -> None:
        self.prompt = prompt
        self.count = 0
        self.last = -1
        self._cancelled = cancelled

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self.count = int(input_ids.shape[1]) - self.prompt
        self.last = int(input_ids[0, -1])
        return torch.full((input_ids.shape[0],), self._cancelled.is_set(), dtype=torch.bool, device=input_ids.device)


class _Generation:
    """`generate` in a separate thread, so that its text can be read while it is generated."""

    def __init__(
        self, model: Any, tokenizer: Any, inputs: Any, limit: int, sampling: dict[str, Any], counter: _Counter
    ) -> None:
        self.streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.error: BaseException | None = None
        ends = model.generation_config.eos_token_id
        self.ends = {ends} if isinstance(ends, int) else set(ends or ())
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(self.ends), None)
        self._arguments = {**inputs, **sampling, "max_new_tokens": limit, "streamer": self.streamer,
                           "stopping_criteria": [counter], "pad_token_id": pad}  # fmt: skip
        self._model = model
        self.thread = threading.Thread(target=self._generate, name="generate", daemon=True)
        self.thread.start()

    def _generate(self) -> None:
        try:
            with torch.inference_mode():
                self._model.generate(**self._arguments)
        except BaseException as error:
            self.error = error
            self.streamer.end()


class _ModelRun:
    """One answer."""

    def __init__(
        self, model: Model, inputs: Any, length: int, limit: int, sampling: dict[str, Any], cancelled: threading.Event
    ) -> None:
        self._counter = _Counter(length, cancelled)
        self._limit = limit
        self._generation = model.start(inputs, limit, sampling, self._counter)
        self.prompt_tokens = length

    @property
    def completion_tokens(self) -> int:
        """Generated tokens, including special ones; counted by id, since a piece of text may be several or none."""
        return self._counter.count

    @property
    def finish_reason(self) -> str:
        """`length` if the limit was reached without an end."""
        ended = self._counter.last in self._generation.ends
        return "length" if self._counter.count >= self._limit and not ended else "stop"

    def __iter__(self) -> Iterator[str | dict[str, Any]]:
        try:
            for text in self._generation.streamer:
                if text:
                    yield text
        finally:
            self._generation.thread.join()
        if self._generation.error is not None:
            raise self._generation.error


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message as chat templates expect it: content a text, arguments of calls an object."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(texts) != len(content):
            raise EngineRefused("This model takes text only.", code="unsupported_content")
        content = "\n".join(str(part.get("text") or "") for part in texts)
    made = {**message, "role": message.get("role"), "content": content or ""}
    calls = []
    for call in message.get("tool_calls") or ():
        function = dict(call.get("function") or {})
        if isinstance(function.get("arguments"), str):
            try:
                function["arguments"] = json.loads(function["arguments"] or "{}")
            except ValueError:
                raise EngineRefused("A tool call's arguments must be a JSON object.") from None
        calls.append({**call, "function": function})
    if calls:
        made["tool_calls"] = calls
    return made

"""A real transformers model, built here: 37,000 parameters, its tokenizer trained on one sentence. No download."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from openai_proxy.exchange import UpstreamRequest
from openai_proxy.upstream.local.provider import LocalProvider

_HERE = all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))
pytestmark = [
    pytest.mark.skipif(not _HERE, reason="needs the optional extra: pip install '.[local]'"),
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # torch and transformers have warnings of their own
]

TEMPLATE = (
    "{% if tools %}<|system|>{{ tools | tojson }}<|end|>{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'judge' %}{{ raise_exception('odd role') }}{% endif %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}<|assistant|>"
)
SENTENCE = "the quick brown fox jumps over the lazy dog and then the dog sleeps in the warm sun"


def build(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([SENTENCE], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(7)
    config = LlamaConfig(vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=4, max_position_embeddings=512, eos_token_id=0, bos_token_id=None,
                         pad_token_id=0, tie_word_embeddings=False, initializer_range=0.3)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny-llama")
    import subprocess
    import sys

    # In a separate process: torch would stay loaded in this one for all later tests.
    source = f"from pathlib import Path; from tests.upstream.test_local_model import build; build(Path({str(path)!r}))"
    subprocess.run([sys.executable, "-c", source], check=True, timeout=120, cwd=Path(__file__).parents[2])
    return path


@pytest.fixture
async def provider(folder: Path) -> AsyncIterator[LocalProvider]:
    made = LocalProvider("tiny", path=str(folder))
    yield made
    await made.aclose()


def ask(provider: LocalProvider, **more: Any) -> Any:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "the quick"}], "max_tokens": 12, **more}
    return provider.send(UpstreamRequest("POST", "/chat/completions", body=orjson.dumps(body)), None)


async def answer(provider: LocalProvider, **more: Any) -> Any:
    response = await ask(provider, **more)
    assert response.status == 200, await response.read(9999)
    return orjson.loads(await response.read(1 << 20))


async def test_one_child_answers_all_requests(provider: LocalProvider):
    """One test for one child: loading torch takes seconds."""
    greedy = await answer(provider, temperature=0)
    text = greedy["choices"][0]["message"]["content"]
    assert len(text) > 7, "the built model says too little to test with: try another seed"
    assert greedy["choices"][0]["finish_reason"] == "length"
    assert greedy["usage"]["completion_tokens"] == 12
    assert greedy["usage"]["prompt_tokens"] > 3
    assert (await answer(provider, temperature=0))["choices"][0]["message"]["content"] == text

    seeded = [(await answer(provider, temperature=1.5, seed=seed))["choices"][0]["message"] for seed in (1, 1, 2)]
    assert seeded[0] == seeded[1]
    assert seeded[0] != seeded[2]

    streamed = await ask(provider, temperature=0, stream=True, stream_options={"include_usage": True})
    events = (await streamed.read(1 << 20)).split(b"\n\n")[:-2]
    streamed.close()
    chunks = [orjson.loads(event[6:]) for event in events]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == text
    assert chunks[-1]["usage"] == greedy["usage"]
    assert len(chunks) > 4

    stop = text[4:7]
    stopped = await answer(provider, temperature=0, stop=stop)
    assert stopped["choices"][0]["message"]["content"] == text[: text.index(stop)]
    assert stopped["choices"][0]["finish_reason"] == "stop"

    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    turns = [{"role": "system", "content": [{"type": "text", "text": "be"}]}, {"role": "user", "content": "hi"},
             {"role": "assistant", "content": None, "tool_calls": [call]},
             {"role": "tool", "tool_call_id": "a", "content": "r"}]  # fmt: skip
    with_tools = await answer(provider, messages=turns, tools=tools, temperature=0)
    without = await answer(provider, messages=turns, temperature=0)
    assert with_tools["usage"]["prompt_tokens"] > without["usage"]["prompt_tokens"]

    for messages, code in (
        ([{"role": "judge", "content": "x"}], "invalid_request"),
        ([{"role": "user", "content": "word " * 600}], "context_length_exceeded"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "unsupported_content"),
    ):
        refused = await ask(provider, messages=messages)
        assert refused.status == 400
        assert orjson.loads(await refused.read(9999))["error"]["code"] == code

    pid = provider.pid
    left = await ask(provider, stream=True, max_tokens=480, temperature=1.0)
    assert await left.chunk()
    left.close()
    assert (await asyncio.wait_for(answer(provider, temperature=0), 20))["choices"][0]["message"]["content"] == text
    assert provider.pid == pid


async def test_a_directory_without_a_model_says_so(tmp_path: Path):
    from openai_proxy.errors import UpstreamError

    for path, code in ((tmp_path / "no", "local_model_missing"), (tmp_path, "local_error")):
        made = LocalProvider("x", path=str(path))
        with pytest.raises(UpstreamError) as caught:
            await ask(made)
        assert caught.value.code == code
        assert str(tmp_path) not in caught.value.message
        await made.aclose()

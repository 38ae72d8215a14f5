"""What providers report about their models, each in its own fields."""

from typing import Any

import pytest
from hypothesis import given

from openai_proxy.dialects.model_lists import anthropic, codex, gemini, ollama, openai
from openai_proxy.dialects.model_lists.cards import card_of
from tests.dialects.odd import values

OPENROUTER = {
    "id": "google/gemini-3-flash", "name": "Gemini 3 Flash", "created": 1700000000, "context_length": 1048576,
    "description": "Fast.", "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
    "top_provider": {"max_completion_tokens": 65536}, "supported_parameters": ["tools", "reasoning", "seed"],
}  # fmt: skip


CASES: list[tuple[dict[str, Any], int | None, int | None, set[str] | None]] = [
    (OPENROUTER, 1048576, 65536, {"completion", "tools", "vision", "thinking"}),
    ({"id": "vllm", "max_model_len": 32768}, 32768, None, None),
    ({"id": "groq", "context_window": 131072, "max_completion_tokens": 32768}, 131072, 32768, None),
    (
        {
            "id": "llama.cpp",
            "meta": {"n_ctx_train": 8192, "n_params": 3},
            "capabilities": ["completion", "multimodal"],
        },
        8192,
        None,
        {"completion", "vision"},
    ),
    (
        {
            "id": "mistral",
            "max_context_length": 131072,
            "capabilities": {"completion_chat": True, "function_calling": True, "vision": False},
        },
        131072,
        None,
        {"completion", "tools"},
    ),
    (
        {
            "id": "claude",
            "max_input_tokens": 200000,
            "max_tokens": 64000,
            "capabilities": {"image_input": {"supported": True}, "thinking": {"supported": False}},
        },
        200000,
        64000,
        {"completion", "tools", "vision"},
    ),
    (
        {
            "id": "gemini",
            "inputTokenLimit": 1000,
            "outputTokenLimit": 10,
            "supportedGenerationMethods": ["generateContent"],
            "thinking": True,
        },
        1000,
        10,
        {"completion", "thinking"},
    ),
    ({"id": "nomic-embed-text"}, None, None, {"embedding"}),
    ({"id": "lmstudio", "type": "vlm", "capabilities": ["tool_use"]}, None, None, {"completion", "tools", "vision"}),
    ({"id": "plain", "context_length": 0, "max_tokens": True}, None, None, None),
]


@pytest.mark.parametrize(
    ("entry", "context", "output", "capabilities"), CASES, ids=[str(case[0])[:40] for case in CASES]
)
def test_limits_and_capabilities(entry: dict[str, Any], context: Any, output: Any, capabilities: Any) -> None:
    card = card_of(entry)
    assert (card.context_length, card.max_output_tokens) == (context, output)
    assert card.capabilities == (None if capabilities is None else frozenset(capabilities))


def test_an_augmented_model_has_its_upstreams_limits_and_tools_of_its_own() -> None:
    card = card_of({"id": "augmented/home", "description": "The house."}, OPENROUTER)
    assert (card.id, card.description, card.context_length) == ("augmented/home", "The house.", 1048576)
    assert card.can("vision")
    blind = card_of({"id": "augmented/home"}, {})
    assert blind.capabilities == {"completion", "tools"}
    assert blind.context_length is None


@given(values())
def test_no_entry_breaks_the_list(value: Any) -> None:
    names = (
        "context_length",
        "capabilities",
        "architecture",
        "details",
        "created",
        "name",
        "modified_at",
        "meta",
        "type",
    )
    card = card_of({"id": "m", **dict.fromkeys(names, value)})
    for written in (openai, ollama, codex):
        written.listed([card])
    ollama.shown(card)
    anthropic.listed([card], {})
    gemini.listed([card], {})

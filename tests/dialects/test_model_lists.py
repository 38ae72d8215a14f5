"""The list in five formats, read by the vendors' own libraries."""

from typing import Any

import orjson
from anthropic.types import ModelInfo
from ollama import ListResponse, ProcessResponse, ShowResponse

from openai_proxy.dialects.model_lists import anthropic, codex, gemini, ollama, openai
from openai_proxy.dialects.model_lists.cards import ModelCard, card_of
from tests.dialects.model_lists.test_cards import OPENROUTER

KNOWN = card_of({**OPENROUTER, "object": "model", "owned_by": "google"})
BARE = card_of({"id": "augmented/home", "object": "model", "created": 0, "owned_by": "openai-proxy"})
EMBED = card_of({"id": "nomic-embed-text"})
CARDS = [KNOWN, BARE, EMBED]


def many(count: int) -> list[ModelCard]:
    return [card_of({"id": f"m{number}"}) for number in range(count)]


def test_openais_list_has_limits_under_every_name() -> None:
    known, bare, _ = openai.listed(CARDS)["data"]
    assert known["context_length"] == known["context_window"] == known["max_model_len"] == 1048576
    assert known["max_output_tokens"] == 65536
    assert known["capabilities"] == ["completion", "thinking", "tools", "vision"]
    assert known["top_provider"] == OPENROUTER["top_provider"]
    assert bare == BARE.entry


def test_anthropics_list() -> None:
    page = anthropic.listed(CARDS, {})
    known, bare, _ = [ModelInfo.model_validate(entry, strict=False) for entry in page["data"]]
    assert (known.id, known.display_name, known.max_input_tokens) == (
        "google/gemini-3-flash",
        "Gemini 3 Flash",
        1048576,
    )
    assert known.capabilities is not None
    assert known.capabilities.image_input.supported
    assert bare.display_name == "augmented/home"
    assert bare.capabilities is not None
    assert bare.capabilities.image_input.supported
    blind = card_of({"id": "x", "capabilities": ["completion"]})
    assert anthropic.one(blind)["capabilities"]["image_input"] == {"supported": False}
    own = {"image_input": {"supported": True}, "batch": {"supported": True}}
    assert anthropic.one(card_of({"id": "claude", "capabilities": own}))["capabilities"] == own
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, KNOWN.id, EMBED.id)


def test_anthropics_pages() -> None:
    cards = many(50)
    ids: list[str] = []
    query: dict[str, str] = {"limit": "20"}
    for _ in range(3):
        page = anthropic.listed(cards, query)
        ids += [entry["id"] for entry in page["data"]]
        query["after_id"] = page["last_id"]
    assert ids == [card.id for card in cards]
    assert page["has_more"] is False
    back = anthropic.listed(cards, {"limit": "5", "before_id": "m20"})
    assert [entry["id"] for entry in back["data"]] == ["m15", "m16", "m17", "m18", "m19"]
    assert back["has_more"] is True
    assert len(anthropic.listed(cards, {"limit": "1000"})["data"]) == 50
    assert anthropic.listed([], {}) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_googles_list_and_its_pages() -> None:
    known, _, embed = gemini.listed(CARDS, {})["models"]
    assert known["name"] == "models/google/gemini-3-flash"
    assert (known["inputTokenLimit"], known["outputTokenLimit"], known["thinking"]) == (1048576, 65536, True)
    assert "generateContent" in known["supportedGenerationMethods"]
    assert embed["supportedGenerationMethods"] == ["embedContent", "batchEmbedContents"]
    first = gemini.listed(many(5), {"pageSize": "3"})
    rest = gemini.listed(many(5), {"pageSize": "3", "pageToken": first["nextPageToken"]})
    assert [entry["name"] for entry in first["models"] + rest["models"]] == [f"models/m{n}" for n in range(5)]
    assert "nextPageToken" not in rest


def test_ollamas_lists() -> None:
    data = ollama.listed(CARDS)
    listed = ListResponse(**orjson.loads(orjson.dumps(data)))
    assert [model.model for model in listed.models] == [card.id for card in CARDS]
    assert data["models"][0]["capabilities"] == ["completion", "thinking", "tools", "vision"]
    assert data["models"][1]["capabilities"] == ["completion", "tools"]
    assert data["models"][2]["capabilities"] == ["embedding"]
    shown = ollama.shown(KNOWN)
    answer = ShowResponse(**orjson.loads(orjson.dumps(shown)))
    assert answer.capabilities == ["completion", "thinking", "tools", "vision"]
    family = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{family}.context_length"] == 1048576
    assert ".Tools" in shown["template"]
    ps = ProcessResponse(**orjson.loads(orjson.dumps(ollama.loaded([KNOWN], "2026-11-29T10:00:00Z"))))
    assert ps.models[0].context_length == 1048576


def test_an_ollama_servers_own_details_are_kept() -> None:
    details = {"family": "llama", "families": ["llama"], "parameter_size": "3.2B", "quantization_level": "Q4_K_M"}
    entry: dict[str, Any] = {
        "id": "llama3.2:latest", "size": 2019393189, "digest": "a80c", "modified_at": "2026-01-02T03:04:05.6Z",
        "details": {**details, "format": "gguf", "context_length": 131072}, "capabilities": ["completion", "tools"],
    }  # fmt: skip
    card = card_of(entry)
    (made,) = ollama.listed([card])["models"]
    assert (made["size"], made["digest"], made["modified_at"]) == (2019393189, "a80c", "2026-01-02T03:04:05.6Z")
    assert made["details"]["quantization_level"] == "Q4_K_M"
    assert ollama.shown(card)["model_info"]["llama.context_length"] == 131072


def test_codexs_catalog_has_every_member_its_reader_requires() -> None:
    models = codex.listed(CARDS)["models"]
    assert [model["slug"] for model in models] == [KNOWN.id, BARE.id]
    required = {
        "slug", "display_name", "supported_reasoning_levels", "shell_type", "visibility", "supported_in_api",
        "priority", "support_verbosity", "truncation_policy", "supports_parallel_tool_calls",
        "experimental_supported_tools", "base_instructions", "supports_reasoning_summaries",
    }  # fmt: skip
    assert all(required <= model.keys() for model in models)
    assert models[0]["context_window"] == 1048576
    assert models[0]["default_reasoning_level"] == "medium"
    assert models[1]["supported_reasoning_levels"] == []

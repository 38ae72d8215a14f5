"""The catalog that Codex CLI requests with `?client_version=`.

Codex rejects the whole list if an entry lacks a required member, and takes the model's instructions from it:
`codex-rs/protocol/src/openai_models.rs` in https://github.com/openai/codex.
"""

from collections.abc import Sequence
from typing import Any, Final

from openai_proxy.dialects.model_lists.cards import COMPLETION, THINKING, VISION, ModelCard

_LEVELS: Final = {"low": "Faster answers", "medium": "The usual amount of thought", "high": "More thought"}
_OUTPUT_LIMIT: Final = 10_000  # bytes of a command's output shown to the model

_INSTRUCTIONS: Final = """\
You are a coding agent in Codex CLI, a terminal program that runs on the user's computer. You read and change files and
run commands with the tools you are given.

Work until the request is done, then stop. Read the code that matters before you change it, and keep to its style.
Follow the AGENTS.md files whose folders contain the files you touch. Change only what the task needs; leave unrelated
faults alone and mention them. Search with rg where it is installed. Never undo changes that you did not make, and never
commit or create branches unless you are asked to.

If you are given a tool that applies patches, change files with it. Check your work with the project's own tests or
build where that is possible, the narrowest ones first. If a command needs a permission that you do not have, ask for it
the way the tool describes.

Before a longer step, say in one sentence what you are about to do. At the end, say briefly what you changed and what
the user should know or do next. Name files by their paths, so that they can be opened.
"""


def listed(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """The whole catalog: models that generate text, in the list's order."""
    writers = [card for card in cards if card.capabilities is None or card.can(COMPLETION)]
    return {"models": [_entry(card, place) for place, card in enumerate(writers)]}


def _entry(card: ModelCard, place: int) -> dict[str, Any]:
    thinks = card.can(THINKING)
    levels = [{"effort": effort, "description": text} for effort, text in _LEVELS.items()] if thinks else []
    return {
        "slug": card.id,
        "display_name": card.name or card.id,
        "description": card.description,
        "default_reasoning_level": "medium" if thinks else None,
        "supported_reasoning_levels": levels,
        "shell_type": "default",
        "visibility": "list",
        "minimal_client_version": [0, 0, 0],
        "supported_in_api": True,
        "priority": place,
        "availability_nux": None,
        "upgrade": None,
        "base_instructions": _INSTRUCTIONS,
        "supports_reasoning_summaries": thinks,
        "supports_reasoning_summary_parameter": thinks,
        "support_verbosity": False,
        "default_verbosity": None,
        "apply_patch_tool_type": None,
        "truncation_policy": {"mode": "bytes", "limit": _OUTPUT_LIMIT},
        "supports_parallel_tool_calls": True,
        "context_window": card.context_length,
        "experimental_supported_tools": [],
        "input_modalities": ["text", "image"] if card.capabilities is None or card.can(VISION) else ["text"],
    }

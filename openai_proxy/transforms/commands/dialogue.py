"""The turns of a request, whatever API it uses.

/chat/completions   messages, content a text or parts
/messages           messages; tool results are in user messages, as parts of another type
/responses          input, a text or items
/completions        prompt, where it begins with a command
/api/chat           messages, as /chat/completions
/api/generate       prompt
Gemini's            contents, each with its parts; the model and functions have other roles
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openai_proxy.dialects.chat.conversation_id import call_names
from openai_proxy.steps import join
from openai_proxy.transforms.splicing import Path

_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})


@dataclass(frozen=True, slots=True)
class DialogueTurn:
    """One message. `texts` are its texts and their places; `more` is True if it has other content."""

    path: Path
    role: str
    texts: tuple[tuple[Path, str], ...]
    more: bool = False
    calls: str = ""  # the names of the tools it calls

    @property
    def text(self) -> str:
        """All of its text."""
        return join(text for _, text in self.texts)


def dialogue(path: str, document: Mapping[str, Any]) -> list[DialogueTurn]:
    """The turns of a request to the endpoint `path`, in order."""
    if path in ("/completions", "/api/generate"):
        prompt = document.get("prompt")
        return [DialogueTurn((), "user", ((("prompt",), prompt),))] if isinstance(prompt, str) else []
    if path.startswith("/models/"):
        return _contents(document.get("contents"))
    name = "input" if path == "/responses" else "messages"
    messages = document.get(name)
    if isinstance(messages, str):
        return [DialogueTurn((), "user", (((name,), messages),))]
    if not isinstance(messages, list):
        return []
    return [_turn((name, index), message) for index, message in enumerate(messages) if isinstance(message, dict)]


def _turn(path: Path, message: Mapping[str, Any]) -> DialogueTurn:
    role = message.get("role")
    if not isinstance(role, str):
        kind = str(message.get("type", ""))
        role = "tool" if kind.endswith("_output") else "assistant"  # items of the Responses API
    content = message.get("content")
    texts: list[tuple[Path, str]] = []
    more = False
    if isinstance(content, str):
        texts.append(((*path, "content"), content))
    elif isinstance(content, list):
        for index, part in enumerate(content):
            if isinstance(part, dict) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str):
                texts.append(((*path, "content", index, "text"), part["text"]))
            else:
                more = True
    elif content is not None:
        more = True
    return DialogueTurn(path, role, tuple(texts), more, call_names(message.get("tool_calls")))


def _contents(contents: Any) -> list[DialogueTurn]:
    if isinstance(contents, str):
        return [DialogueTurn((), "user", ((("contents",), contents),))]
    turns: list[DialogueTurn] = []
    for index, content in enumerate(contents if isinstance(contents, list) else ()):
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list):
            continue
        path: Path = ("contents", index)
        texts: list[tuple[Path, str]] = []
        for place, part in enumerate(parts):
            if isinstance(part, dict) and isinstance(part.get("text"), str) and not part.get("thought"):
                texts.append(((*path, "parts", place, "text"), part["text"]))
        said_by = content.get("role")
        role = "assistant" if said_by == "model" else "tool" if said_by == "function" else "user"
        answers = [part for part in parts if isinstance(part, dict) and "functionResponse" in part]
        turns.append(
            DialogueTurn(path, "tool" if answers and not texts else role, tuple(texts), len(texts) < len(parts))
        )
    return turns

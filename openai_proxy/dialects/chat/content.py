"""The text of a message's `content`, which is a string or a list of parts."""

from collections.abc import Mapping
from typing import Any

from openai_proxy.steps import join


def text_of(content: Any) -> tuple[str, str]:
    """(text, reasoning) of a `content`: a string, or a list of parts as sent by Mistral's thinking models."""
    if isinstance(content, str):
        return content, ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            if isinstance(part.get("text"), str):
                texts.append(part["text"])
            thinking = part.get("thinking")
            if thinking:
                thoughts.append(text_of(thinking)[0])
    return join(texts), join(thoughts)


def text_and_reasoning(message: Mapping[str, Any]) -> tuple[str, Any]:
    """(text, reasoning) of a message or a delta. A refusal is the text of one that has no other."""
    text, thought = text_of(message.get("content"))
    thought = message.get("reasoning_content") or message.get("reasoning") or thought
    return text or message.get("refusal") or "", thought

"""The text of a message's `content`, which is a string or a list of parts."""

from typing import Any


def text_of(content: Any) -> tuple[str, str]:
    """(text, reasoning) of a `content`: a string, or a list of parts as Mistral's thinking models send it."""
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
    return "".join(texts), "".join(thoughts)

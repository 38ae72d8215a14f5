"""Gemini's paths: `/models/{model}:{verb}`, the model's name with slashes and percent signs in it or not."""

from typing import NamedTuple
from urllib.parse import parse_qs, unquote

PREFIX = "/models/"
VERBS = frozenset({"generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"})


class GeminiPath(NamedTuple):
    """What a path asks for."""

    model: str
    verb: str
    sse: bool  # a stream of events was asked for by `alt=sse`


def parse(path: str) -> GeminiPath | None:
    """The call that a path below the API root, with its query, stands for; None for any other path."""
    path, _, query = path.partition("?")
    if not path.startswith(PREFIX):
        return None
    name, _, verb = path[len(PREFIX) :].rpartition(":")
    if not name or verb not in VERBS:
        return None
    return GeminiPath(unquote(name), verb, parse_qs(query).get("alt", [""])[-1] == "sse")

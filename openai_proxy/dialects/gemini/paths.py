"""Gemini's paths: `/models/{model}:{verb}`; the model's name may contain slashes and percent signs."""

from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from openai_proxy.endpoints import GEMINI

PREFIX = "/models/"


class GeminiPath(NamedTuple):
    """What a path means."""

    model: str
    verb: str
    sse: bool  # a stream of events was requested with `alt=sse`


def parse(path: str) -> GeminiPath | None:
    """The call meant by a path below the API root, with its query; None for any other path."""
    path, _, query = path.partition("?")
    if not path.startswith(PREFIX):
        return None
    name, _, verb = path[len(PREFIX) :].rpartition(":")
    if not name or verb not in GEMINI:
        return None
    return GeminiPath(unquote(name), verb, parse_qs(query).get("alt", [""])[-1] == "sse")

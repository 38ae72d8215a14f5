"""Estimated tokens of a request: media count as such, and not by their bytes."""

from typing import Any

import pytest

from openai_proxy.dialects.estimate import estimate_tokens
from openai_proxy.dialects.gemini.read_request import read_count

PICTURE = "data:image/png;base64," + "A" * 1_300_000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": PICTURE},
        {"type": "input_file", "filename": "a.pdf", "file_data": PICTURE},
        {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}},
    ],
)
def test_media_of_the_responses_api(part: dict[str, Any]) -> None:
    text = {"type": "input_text", "text": "What is this?"}
    assert 0 < estimate_tokens({"input": [{"role": "user", "content": [text, part]}]}) < 2000


def test_a_screenshot_and_a_drawing() -> None:
    shot = {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": PICTURE}}
    drawn = {"type": "image_generation_call", "result": PICTURE}
    assert estimate_tokens({"input": [shot, drawn]}) < 3000


def test_text_counts_by_its_length() -> None:
    assert estimate_tokens({"instructions": "x" * 400, "input": "y" * 400}) == 200
    assert estimate_tokens({"input": None}) == 1
    assert estimate_tokens({"tools": [{"type": "function", "name": "f", "parameters": {"maximum": 2**70}}]}) > 1


def test_numbers_beyond_64_bits_in_tools_are_accepted() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"maximum": 2**70}}}]
    assert estimate_tokens({"messages": [{"role": "user", "content": "hi"}], "tools": tools}) > 1
    declared = [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"maximum": 2**70}}]}]
    assert read_count("m", {"contents": [{"parts": [{"text": "hi"}]}], "tools": declared}).answer is not None

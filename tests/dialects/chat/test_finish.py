"""A finish reason is one of the known ones, whatever a provider calls it, and nothing else counts as one."""

from typing import Any

import pytest

from openai_proxy.dialects.chat.finish import finish_of, unknown_word


@pytest.mark.parametrize(
    ("choice", "finish", "odd"),
    [
        ({"finish_reason": "stop"}, "stop", False), ({"finish_reason": "STOP"}, "stop", False),
        ({"finish_reason": "MAX_TOKENS"}, "length", False), ({"finish_reason": "tool_use"}, "tool_calls", False),
        ({"finish_reason": "function_call"}, "tool_calls", False), ({"finish_reason": "eos_token"}, "stop", False),
        ({"finish_reason": "SAFETY"}, "content_filter", False), ({"finish_reason": "abort"}, "error", False),
        ({"finish_reason": " stop\n"}, "stop", False), ({"finish_reason": "RECITATION"}, "content_filter", False),
        ({"finish_reason": "cancelled"}, "error", False), ({"finish_reason": "server_error"}, "error", False),
        ({"finish_reason": "in_progress"}, None, False),
        ({"finish_reason": "stop", "native_finish_reason": "UNEXPECTED_TOOL_CALL"}, "error", False),
        ({"finish_reason": "stop", "native_finish_reason": "failed"}, "error", False),
        ({"finish_reason": None}, None, False), ({}, None, False), ({"finish_reason": ""}, None, False),
        ({"finish_reason": " "}, None, False), ({"finish_reason": "null"}, None, False),
        ({"finish_reason": 5}, None, False), ({"finish_reason": ["stop"]}, None, False),
        ({"finish_reason": "banana"}, None, True),
        ({"finish_reason": "stop", "native_finish_reason": "ERROR"}, "error", False),
        ({"finish_reason": None, "native_finish_reason": "upstream_error"}, "error", False),
        ({"finish_reason": None, "native_finish_reason": None}, None, False),
        ({"finish_reason": "stop", "native_finish_reason": "STOP"}, "stop", False),
    ],
)  # fmt: skip
def test_finish_reasons(choice: dict[str, Any], finish: str | None, odd: bool):
    assert finish_of(choice) == finish
    assert unknown_word(choice) is odd

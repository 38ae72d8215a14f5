"""Turns with spoken answers: what the filter passes, and what is said if the model says nothing."""

from typing import Any

import pytest

from openai_proxy.agent.turn import ThinkingMemory
from tests.agent.grammar import check
from tests.agent.support import (
    CLIENT_TOOL,
    Box,
    Upstream,
    asks,
    chunk,
    completion,
    events,
    says,
    stream,
    usage_event,
    whole,
)

SPEECH = {"speech": True}
MARKED = "## Now\n\nThe **light** is [on](https://a.example) 😀:\n- `kitchen`\n- hall"
HEARD = "Now.\n\nThe light is on:\nkitchen.\nhall."


async def test_a_spoken_answer_has_no_markdown_streamed_or_whole() -> None:
    assert check(await stream(Upstream(says(MARKED)), settings=SPEECH)).content == HEARD
    answer = await whole(Upstream(completion({"content": MARKED})), settings=SPEECH)
    assert answer["choices"][0]["message"]["content"] == HEARD
    assert check(await stream(Upstream(says(MARKED)))).content == MARKED, (
        "the text was filtered although speech is not configured"
    )


async def test_held_text_is_sent_before_the_tools_run() -> None:
    upstream = Upstream(asks(("1", "a", "{}"), text="One [moment"), says("**Done**"))
    seen = check(await stream(upstream, Box(a="1"), settings=SPEECH))
    assert seen.content == "One [moment\n\nDone"
    assert upstream.requests[1]["messages"][1]["content"] == "One [moment", (
        "the model does not get its own text unchanged"
    )


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
async def test_structured_output_is_unchanged(kind: str) -> None:
    upstream = Upstream(says('{"a": "**b**"}'))
    assert check(await stream(upstream, settings=SPEECH, response_format={"type": kind})).content == '{"a": "**b**"}'
    assert check(await stream(Upstream(says("")), settings=SPEECH, response_format={"type": kind})).content == ""


async def test_an_empty_answer_becomes_a_sentence() -> None:
    for text in ("", "😀", "```\ncode\n```"):
        assert check(await stream(Upstream(says(text)), settings=SPEECH)).content == "I have no answer to that."
    for text in ("https://example.org/a.", "**…**"):
        spoken = check(await stream(Upstream(says(text)), settings=SPEECH)).content
        assert spoken.endswith(" I have no answer to that."), spoken
    seen = check(await stream(Upstream(says("")), settings=SPEECH, newest="Wie wird das Wetter?"))
    assert seen.content == "Darauf habe ich keine Antwort."
    seen = check(await stream(Upstream(asks(("1", "a", "{}")), says("👍")), Box(a="1"), settings=SPEECH))
    assert seen.content == "Done."
    answer = await whole(Upstream(completion({"content": None})), settings=SPEECH)
    assert answer["choices"][0]["message"]["content"] == "I have no answer to that."


async def test_a_call_of_the_clients_needs_no_sentence() -> None:
    seen = check(await stream(Upstream(asks(("1", "theirs", "{}"))), settings=SPEECH, tools=[CLIENT_TOOL]))
    assert (seen.content, len(seen.calls)) == ("", 1)


async def test_a_model_that_only_calls_tools_ends_with_a_sentence() -> None:
    script = [asks(("0", "a", "{}")), asks(("1", "a", '{"i":1}'))]
    seen = check(await stream(Upstream(*script), Box(a="1"), settings={**SPEECH, "max_tool_rounds": 1}))
    assert (seen.content, seen.error) == ("Done.", None)


def thinking(*pieces: str) -> bytes:
    return events(*(chunk({"content": piece}) for piece in pieces), chunk({}, "stop"), usage_event())


async def test_unmarked_reasoning_is_learnt_from_one_answer() -> None:
    memory = ThinkingMemory()
    given: dict[str, Any] = {"settings": SPEECH, "thinking": memory}
    answer = ("Okay, the user", " wants it.", "</think>", "It is on.")
    assert "</think>" not in check(await stream(Upstream(thinking(*answer)), **given)).content
    seen = check(await stream(Upstream(thinking(*answer)), **given))
    assert (seen.content, seen.reasoning) == ("It is on.", "Okay, the user wants it.")
    seen = check(await stream(Upstream(says("Without a thought.")), **given))
    assert seen.content == "Without a thought."
    assert not memory.expected, "the newest answer decides what is expected"


async def test_unmarked_reasoning_in_a_whole_answer() -> None:
    answer = await whole(Upstream(completion({"content": "Okay.</think>It is on."})))
    message = answer["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("It is on.", "Okay.")

"""Which parts of a request are recorded, and which are left out to save disk space."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.endpoints import at, locate
from openai_proxy.records.writing.request_contents import MIN_BLOB, messages_of, tool_names, without_blobs
from openai_proxy.records.writing.textjson import MAX_STRING, bounded
from tests.records.conftest import SSE, Desk, event


def test_large_images_are_left_out_and_small_ones_stay() -> None:
    picture = "data:image/png;base64," + "A" * (MIN_BLOB + 5)
    small = "data:image/png;base64,AAAA"
    body = {"messages": [{"content": [{"image_url": {"url": picture}}, {"image_url": {"url": small}}]}], "n": 1}
    assert json.loads(without_blobs(json.dumps(body).encode())) == {
        "messages": [
            {
                "content": [
                    {"image_url": {"url": f"data:image/png;base64,[{MIN_BLOB + 5} bytes left out]"}},
                    {"image_url": {"url": small}},
                ]
            }
        ],
        "n": 1,
    }


@given(st.lists(st.one_of(st.text(), st.just(';base64,"' + "A" * 5000), st.just(";base64,\\" + "B" * 5000))))
def test_text_that_resembles_an_image_stays(texts: list[str]) -> None:
    body = json.dumps({"t": texts, "pad": "x" * MIN_BLOB}).encode()
    assert json.loads(without_blobs(body)) == json.loads(body)


def test_huge_strings_are_cut_in_huge_requests(desk: Desk) -> None:
    desk.ask(event("ok"), [{"role": "user", "content": "x" * (MAX_STRING + 1)}], headers=SSE, session_id="s")
    request = desk.lines()[0]
    assert len(request["messages"][0]["content"]) < 2000
    assert bounded({"a": [1, None, "b"]}) == {"a": [1, None, "b"]}


def test_every_api_has_messages() -> None:
    user = [{"role": "user", "content": "x"}]
    cases: list[tuple[str, dict[str, Any], Any]] = [
        ("/chat/completions", {"messages": user}, user),
        ("/chat/completions", {"messages": "no list"}, []),
        ("/completions", {"prompt": "x"}, user),
        ("/responses", {"input": "x"}, user),
        ("/responses", {"input": user, "instructions": "be kind"}, [{"role": "system", "content": "be kind"}, *user]),
        ("/messages", {"system": "be kind", "messages": user}, [{"role": "system", "content": "be kind"}, *user]),
    ]
    cases += [
        ("/api/chat", {"messages": user}, user),
        ("/api/generate", {"prompt": "x", "system": "be kind"}, [{"role": "system", "content": "be kind"}, *user]),
    ]
    for path, body, expected in cases:
        assert messages_of(at(path), body) == expected
    talk = {
        "contents": [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": [{"functionCall": {}}]}]
    }
    gemini = locate("POST", "/v1beta/models/m:generateContent")
    assert messages_of(gemini, talk) == [*user, {"role": "assistant", "content": [{"functionCall": {}}]}]
    assert messages_of(gemini, {"contents": "x", "systemInstruction": {"parts": [{"text": "be kind"}]}}) == [
        {"role": "system", "content": "be kind"},
        *user,
    ]


def test_the_names_of_offered_tools_are_kept() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"name": "g"}, {"type": "web_search"}, "junk"]
    assert tool_names({"tools": tools}) == ["f", "g", "web_search"]

"""A member of the wrong type is named in the refusal, wherever the reader met it."""

import json
from typing import Any

import pytest

from openai_proxy.dialects.odd_input import in_own_format, understood, with_member
from openai_proxy.errors import BadRequest
from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.upstream import Upstream


def read(document: dict[str, Any]) -> str:
    if "model" not in document:
        raise BadRequest("A model is needed.", param="model")
    if "size" not in document:
        raise BadRequest("A size is needed.", param="size")
    if "messages" not in document:
        raise BadRequest("Messages are needed.", param="messages")
    words = [message["text"].upper() for message in document["messages"]]
    return " ".join(words) + document.get("end", "").upper()


GOOD = {"model": "m", "size": 1, "messages": [{"text": "a"}, {"text": "b"}], "end": "c"}


def test_valid_documents_are_read() -> None:
    assert understood(read, GOOD) == "A Bc".upper()


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"end": 1}, "end"),
        ({"messages": 1}, "messages"),
        ({"messages": [{"text": "a"}, {"text": 2}]}, "messages"),
        ({"messages": [{"text": 2}]}, "messages"),
        ({"messages": [{}, {}], "end": "x"}, "messages"),
    ],
)
def test_the_member_is_named(wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        understood(read, {**GOOD, **wrong})
    assert caught.value.param == param
    assert param in caught.value.message


def test_of_two_wrong_members_one_is_named() -> None:
    with pytest.raises(BadRequest) as caught:
        understood(read, {**GOOD, "messages": 1, "end": 1})
    assert caught.value.param == "messages"


def test_excessive_depth_is_reported() -> None:
    def endless(document: dict[str, Any]) -> None:
        endless(document)

    with pytest.raises(BadRequest, match="nested too deeply"):
        understood(endless, {})


def test_the_search_examines_one_message() -> None:
    seen: list[int] = []

    def counting(document: dict[str, Any]) -> str:
        seen.append(len(document.get("messages") or ()))
        return read(document)

    with pytest.raises(BadRequest):
        understood(counting, {**GOOD, "messages": [{"text": "a"}] * 1000, "end": 1})
    assert seen[0] == 1000
    assert set(seen[1:]) <= {0, 1}


def test_apis_without_a_place_for_it_name_the_member_in_the_message() -> None:
    assert with_member({"message": "A text is needed.", "param": "system"}) == "system: A text is needed."
    assert with_member({"message": "'system' must be a text.", "param": "system"}) == "'system' must be a text."
    assert with_member({"message": "No.", "param": None}) == "No."
    assert with_member({}) is None


def test_a_member_has_the_name_of_the_clients_api() -> None:
    names = {"max_tokens": "generationConfig.maxOutputTokens", "messages": "contents"}
    told = in_own_format({"message": "'max_tokens' must be at least 1.", "param": "max_tokens", "code": "c"}, names)
    assert told == {
        "message": "'generationConfig.maxOutputTokens' must be at least 1.",
        "param": "generationConfig.maxOutputTokens",
        "code": "c",
    }
    assert in_own_format({"message": "No.", "param": "messages[3].content"}, names)["param"] == "contents"
    for same in ({"message": "No.", "param": "tools"}, {"message": "No.", "param": None}, {}):
        assert in_own_format(same, names) == same


NOTHING_TO_WRITE = {"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"maxOutputTokens": 0}}


@pytest.mark.parametrize(
    ("path", "wrong", "own"),
    [
        ("/v1beta/models/c:generateContent", NOTHING_TO_WRITE, "generationConfig.maxOutputTokens"),
        ("/v1beta/models/c:generateContent", {"contents": ""}, "contents"),
        ("/v1/responses", {"model": "c", "input": []}, "input"),
    ],
)
def test_members_refused_by_a_provider_have_the_clients_name(
    upstream: Upstream, make_daemon: DaemonFactory, path: str, wrong: dict[str, Any], own: str
) -> None:
    claude = {"claude": connection(upstream.url.removesuffix("/v1"), api_type="anthropic")}
    daemon = make_daemon({"connections": claude, "routing": {"c": "claude.x"}})
    answer = daemon.post(path, json.dumps(wrong).encode())
    assert answer.status == 400
    assert own in answer.body.decode()

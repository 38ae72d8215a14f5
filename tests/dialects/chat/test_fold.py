"""The message fold: every oddity found in recorded streams becomes one clean message."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.chat.chunks import chunk, usage_chunk
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.chat.think import ThinkSplitter, split_think


def fold(*deltas: dict[str, Any], finish: str | None = "stop") -> MessageFold:
    result = MessageFold()
    for delta in deltas:
        result.feed(chunk("c1", "m", delta))
    if finish:
        result.feed(chunk("c1", "m", {}, finish_reason=finish))
    return result


def call(arguments: str | None = None, **entry: Any) -> dict[str, Any]:
    function: dict[str, Any] = {}
    if "name" in entry:
        function["name"] = entry.pop("name")
    if arguments is not None:
        function["arguments"] = arguments
    return {"tool_calls": [{**entry, "function": function}]}


def calls(*deltas: dict[str, Any]) -> list[tuple[str, str]]:
    entries = fold(*deltas).message()["tool_calls"]
    assert all(e["id"] and e["type"] == "function" for e in entries)
    assert len({e["id"] for e in entries}) == len(entries)
    return [(e["function"]["name"], e["function"]["arguments"]) for e in entries]


def test_text_is_joined_and_null_content_is_ignored() -> None:
    result = fold({"role": "assistant", "content": ""}, {"content": "Pa"}, {"content": None}, {"content": "ris"})
    assert result.message() == {"role": "assistant", "content": "Paris"}
    assert result.finish_reason == "stop"


def test_usage_is_read_from_any_chunk_and_the_last_one_counts() -> None:
    result = fold({"content": "a"})
    result.feed({**chunk("c1", "m", {"content": ""}), "usage": {"total_tokens": 1}})
    result.feed(usage_chunk("c1", "m", {"total_tokens": 2}))
    result.feed({**chunk("c1", "m", {}), "usage": None})
    assert result.usage == {"total_tokens": 2}


def test_a_repeated_finish_changes_nothing() -> None:
    result = fold({"content": "a"})
    result.feed(chunk("c1", "m", {"content": ""}, finish_reason="stop"))
    assert result.message()["content"] == "a"
    assert result.finish_reason == "stop"


def test_an_error_in_band_is_noticed_whatever_else_the_chunk_contains() -> None:
    result = fold({"content": "a"}, finish=None)
    result.feed({**chunk("c1", "m", {}), "error": {"message": "boom"}})
    assert result.error["message"] == "boom"


FRAGMENTS = {
    "as openai sends it": [call("", index=0, id="a", name="f"), call('{"x"', index=0), call(":1}", index=0)],
    "index missing": [call("", id="a", name="f"), call('{"x"'), call(":1}")],
    "index begins at 1": [call("", index=1, id="a", name="f"), call('{"x":1}', index=1)],
    "index a float": [call("", index=0.0, id="a", name="f"), call('{"x":1}', index=0)],
    "index a string": [call("", index="0", id="a", name="f"), call('{"x":1}', index="0")],
    "index null": [call("", index=None, id="a", name="f"), call('{"x":1}', index=None)],
    "id and name repeated": [call('{"x"', index=0, id="a", name="f"), call(":1}", index=0, id="a", name="f")],
    "name in a later delta": [call(index=0, id="a"), call('{"x"', index=0, name="f"), call(":1}", index=0)],
    "name in fragments": [call(index=0, id="a", name="g"), call("", index=0, name="f"), call('{"x":1}', index=0)],
    "id late": [call('{"x"', index=0, name="f"), call(":1}", index=0, id="a")],
    "id in the finish only, no index": [call('{"x"', name="f"), call(":1}", id="a")],
    "fresh id with every fragment": [call('{"x"', index=0, id="a", name="f"), call(":1}", index=0, id="b")],
    "arguments an object": [
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]}
    ],
    "no id, no index, whole": [call('{"x":1}', name="f")],
}


@pytest.mark.parametrize("name", FRAGMENTS)
def test_one_call_in_every_form(name: str) -> None:
    expected = "gf" if name == "name in fragments" else "f"
    assert calls(*FRAGMENTS[name]) == [(expected, '{"x":1}')]


PAIRS = {
    "as openai sends them": [
        call("", index=0, id="a", name="f"), call("{}", index=0),
        call("", index=1, id="b", name="g"), call("{}", index=1),
    ],
    "interleaved": [
        call("", index=0, id="a", name="f"), call("", index=1, id="b", name="g"),
        call("{}", index=0), call("{}", index=1),
    ],
    "in one chunk": [{"tool_calls": [*call("{}", index=0, id="a", name="f")["tool_calls"],
                                     *call("{}", index=1, id="b", name="g")["tool_calls"]]}],
    "in one chunk, no index": [{"tool_calls": [*call("{}", id="a", name="f")["tool_calls"],
                                               *call("{}", id="b", name="g")["tool_calls"]]}],
    "no index, no id": [call("{}", name="f"), call("{}", name="g")],
    "all index 0, ids": [call("{}", index=0, id="a", name="f"), call("{}", index=0, id="b", name="g")],
    "all index 0, no ids": [call("{}", index=0, name="f"), call("{}", index=0, name="g")],
    "no index, by id, interleaved": [
        call("", id="a", name="f"), call("", id="b", name="g"), call("{}", id="a"), call("{}", id="b")
    ],
    "one id for both": [call("{}", index=0, id="a", name="f"), call("{}", index=1, id="a", name="g")],
    "empty ids": [call("{}", index=0, id="", name="f"), call("{}", index=1, id="", name="g")],
    "arguments never come": [call(None, index=0, id="a", name="f"), call("", index=1, id="b", name="g")],
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_two_calls_in_every_form(name: str) -> None:
    assert calls(*PAIRS[name]) == [("f", "{}"), ("g", "{}")]


def test_the_same_call_twice_without_ids_is_two_calls() -> None:
    assert calls(call("{}", name="f"), call("{}", name="f")) == [("f", "{}"), ("f", "{}")]


def test_null_arguments_are_empty() -> None:
    entry = {"index": 0, "id": "a", "function": {"name": "f", "arguments": None}}
    assert calls({"tool_calls": [entry]}) == [("f", "{}")]


def test_ids_of_the_provider_are_kept_and_missing_ones_stay_the_same() -> None:
    result = fold(call("{}", index=0, id="mine", name="f"), call("{}", index=1, name="g"))
    first, second = result.message()["tool_calls"], result.turn()["tool_calls"]
    assert first == second
    assert first[0]["id"] == "mine"
    assert first[1]["id"].startswith("call_")


def test_thought_signatures_stay_with_their_call() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "sig"}}}
    result = fold({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}, **signed}]})
    assert result.turn()["tool_calls"][0]["extra_content"] == signed["extra_content"]


def test_reasoning_under_every_name_is_kept() -> None:
    result = fold(
        {"reasoning_content": "th", "reasoning": "th"},
        {"reasoning_content": "ink", "reasoning": "ink", "reasoning_details": [
            {"index": 0, "type": "reasoning.text", "text": "th", "format": "x"}]},
        {"reasoning_details": [{"index": 0, "type": "reasoning.text", "text": "ink", "format": "x"}]},
        {"reasoning_details": [{"index": 0, "type": "reasoning.encrypted", "data": "=="}]},
        {"content": "ok"},
    )  # fmt: skip
    message = result.turn()
    assert (message["reasoning_content"], message["reasoning"]) == ("think", "think")
    assert message["reasoning_details"] == [
        {"index": 0, "type": "reasoning.text", "text": "think", "format": "x"},
        {"index": 0, "type": "reasoning.encrypted", "data": "=="},
    ]


def test_content_lists_are_text_for_the_client_and_parts_for_the_provider() -> None:
    result = fold(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "m"}]}]},
        {"content": "Pa"},
        {"content": [{"type": "text", "text": "ris"}]},
    )
    assert result.message() == {"role": "assistant", "content": "Paris", "reasoning_content": "hm"}
    assert result.turn()["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "Paris"},
    ]


def test_unknown_members_are_kept() -> None:
    result = fold({"x_text": "a", "x_number": 1}, {"x_text": "b", "x_number": 2, "annotations": [{"url": "u"}]})
    message = result.turn()
    assert (message["x_text"], message["x_number"], message["annotations"]) == ("ab", 2, [{"url": "u"}])


def test_choices_are_kept_apart_and_make_a_completion() -> None:
    result = MessageFold()
    for index, text in ((1, "b"), (0, "a"), (1, "B"), (0, "A")):
        result.feed(chunk("c1", "m", {"content": text}, index=index, system_fingerprint="fp"))
        result.feed(chunk("c1", "m", {}, index=index, finish_reason="stop"))
    whole = result.completion()
    assert [c["message"]["content"] for c in whole["choices"]] == ["aA", "bB"]
    assert (whole["id"], whole["model"], whole["system_fingerprint"]) == ("c1", "m", "fp")


def test_a_whole_completion_folds_to_itself() -> None:
    result = fold({"content": "hi"}, call('{"a":1}', index=0, id="x", name="f"), finish="tool_calls")
    whole = result.completion()
    again = MessageFold()
    again.feed(json.loads(json.dumps(whole)))
    assert again.completion() == whole


@pytest.mark.parametrize(
    "odd",
    [{"choices": None}, {"choices": "x"}, {"choices": [None]}, {"choices": [{"delta": "x"}]}, {"usage": 3},
     {"choices": [{"index": "a", "delta": {"tool_calls": ["x", {"function": None}], "content": 4}}]}],
)  # fmt: skip
def test_nonsense_is_left_out(odd: dict[str, Any]) -> None:
    result = fold({"content": "a"})
    result.feed(odd)
    assert result.turn()["content"] == "a"
    assert result.message()["content"] == "a"


THOUGHTS = {
    "<think>hm</think>Paris": ("Paris", "hm"),
    "a<think>b</think>c<think>d</think>e": ("ace", "bd"),
    "<think>never closed": ("", "never closed"),
    "no tag < here, 1 <2, <thin": ("no tag < here, 1 <2, <thin", ""),
    "the tag `<think>` opens": ("the tag `<think>` opens", ""),
    "<think>a < b </thin > c</think>": ("", "a < b </thin > c"),
    "<<think>x</think>>": ("<>", "x"),
}


@pytest.mark.parametrize("text", THOUGHTS)
def test_reasoning_is_separated_at_every_cut(text: str) -> None:
    assert split_think(text) == THOUGHTS[text]
    for cut in range(len(text)):
        assert _pieces(text[:cut], text[cut:]) == THOUGHTS[text]
    assert _pieces(*text) == THOUGHTS[text]


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "thin", "k>", "`", "a", " "]), max_size=12), st.data())
def test_any_text_splits_the_same_under_any_cuts(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    edges = [0, *cuts, len(text)]
    for inside in (False, True):
        assert _pieces(*(text[a:b] for a, b in itertools.pairwise(edges)), inside=inside) == _pieces(
            text, inside=inside
        )
    if "think>" not in text:
        assert _pieces(text) == (text, "")


LONE = {
    "hm</think>Paris": ("Paris", "hm"),
    "hm<a</think>Paris<think>b</think>!": ("Paris!", "hm<ab"),
    "</think>Paris": ("Paris", ""),
    "`</think>` closes": ("`</think>` closes", ""),
}


@pytest.mark.parametrize("text", LONE)
def test_an_answer_whose_reasoning_has_no_opening_tag(text: str) -> None:
    assert split_think(text) == LONE[text]
    if text[0] == "`":
        return
    for cut in range(len(text)):
        assert _pieces(text[:cut], text[cut:], inside=True) == LONE[text], (
            "with inside=True, text before a lone </think> is reasoning"
        )
    splitter = ThinkSplitter()
    assert "</think>" not in "".join(splitter.feed(letter)[0] for letter in text)
    assert splitter.lone


def test_expected_reasoning_that_is_missing() -> None:
    splitter = ThinkSplitter(inside=True)
    assert [splitter.feed("Par"), splitter.feed("is</thi")] == [("", "Par"), ("", "is")]
    assert splitter.flush() == ("Paris</thi", "")
    assert not splitter.lone


def test_plain_text_is_never_held_back() -> None:
    splitter = ThinkSplitter()
    assert splitter.feed("Hello") == ("Hello", "")
    assert splitter.feed(" a<") == (" a", "")
    assert splitter.feed("b") == ("<b", "")


def test_the_fold_moves_reasoning_for_clients_only() -> None:
    result = fold({"content": "<thi"}, {"content": "nk>hm</think>"}, {"content": "Paris"})
    assert result.message() == {"role": "assistant", "content": "Paris", "reasoning_content": "hm"}
    assert result.turn()["content"] == "<think>hm</think>Paris"


def _pieces(*pieces: str, inside: bool = False) -> tuple[str, str]:
    splitter = ThinkSplitter(inside=inside)
    out = [splitter.feed(p) for p in pieces] + [splitter.flush()]
    return "".join(o[0] for o in out), "".join(o[1] for o in out)

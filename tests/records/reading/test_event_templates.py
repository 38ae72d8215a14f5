"""Texts cut out of whole blocks of events equal those that are read event by event."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.answer_formats import CHAT
from openai_proxy.records.reading.event_templates import EventTemplate, VaryingTemplate, learn
from openai_proxy.records.reading.stream import RecordedStreamReader
from tests.records.conftest import DONE

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ['"},"finish_reason":null}],"padding":"', '","logprobs":null', "\\", '\\"', "\n\ndata: ", "null", "}"]
    ),
)


def frame(number: int, text: str, **change: Any) -> bytes:
    """An event whose time, id and padding vary with `change`."""
    choice = {"index": change.get("index", 0), "delta": {"content": text}, "finish_reason": change.get("finish")}
    body = {
        "id": f"c-{number if change.get('ids') else 0}",
        "created": 1754693439 + (number if change.get("times") else 0),
        "choices": [choice],
        "usage": {"prompt_tokens": number} if change.get("usage") else None,
    }
    if change.get("padding"):
        body["padding"] = "aZ0_-" * (number % 4) + str(number)
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def learnt(first: bytes, second: bytes) -> EventTemplate | None:
    raws = [first[:-2], second[:-2]]
    return learn(raws, [orjson.loads(raw[6:]) for raw in raws], RecordedAnswer())


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, EventTemplate),
        ({"times": True}, VaryingTemplate),
        ({"padding": True}, VaryingTemplate),
        ({"times": True, "padding": True}, VaryingTemplate),
        (
            {"ids": True, "times": True},
            type(None),
        ),  # two places vary before the text, so the JSON parser reads the events
        ({"usage": True}, type(None)),
        ({"finish": "stop"}, type(None)),
        ({"index": 1}, type(None)),
    ],
)
def test_events_with_and_without_a_template(change: dict[str, Any], kind: type) -> None:
    assert type(learnt(frame(1, "a", **change), frame(22, "b", **change))) is kind


def test_texts_are_cut_out_whatever_a_block_begins_and_ends_with() -> None:
    template = learnt(frame(1, "a", times=True, padding=True), frame(2, "b", times=True, padding=True))
    assert template is not None
    block = b"".join(frame(n, f"w{n} ", times=True, padding=True) for n in range(4))
    assert template.cut(block) == (b"", b"w0 w1 w2 w3 ", b"")
    assert template.cut(b": hello\n\n" + block + DONE) == (b": hello\n\n", b"w0 w1 w2 w3 ", DONE)
    assert template.cut(block.replace(b'"index": 0', b'"index": 1', 1)) is None
    assert template.cut(block + b": hello\n\n" + block) is None  # shorter than the bytes around a text


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(
    texts=st.lists(TEXTS, min_size=4, max_size=30),
    change=st.fixed_dictionaries({}, optional={key: st.booleans() for key in ("times", "padding", "ids")}),
    odd=st.dictionaries(st.integers(0, 29), st.sampled_from([{"finish": "stop"}, {"usage": True}, {"index": 1}])),
    cuts=st.lists(st.integers(1, 3000), max_size=4),
)
def test_blocks_give_what_single_events_give(
    fold: Callable[..., RecordedAnswer], texts: list[str], change: dict[str, bool], odd: dict[int, Any], cuts: list[int]
) -> None:
    events = [frame(n, text, **{**change, **odd.get(n, {})}) for n, text in enumerate(texts)]
    stream = b"".join([*events, DONE])
    blocks = fold(stream, cuts=tuple(cuts))
    single = fold(stream, cuts=tuple(itertools.accumulate(map(len, events))))
    assert blocks.content == "".join(texts) == single.content
    assert (blocks.finish_reason, blocks.usage, blocks.malformed) == (single.finish_reason, single.usage, 0)


def test_events_that_differ_are_cut_in_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = RecordedAnswer()
    reader = RecordedStreamReader(answer, CHAT)
    reader.feed(b"".join(frame(n, "x", times=True) for n in range(10)))

    def not_again(self: RecordedStreamReader, block: bytes, learning: bool = False) -> None:
        raise AssertionError("an event was parsed")

    monkeypatch.setattr(RecordedStreamReader, "_array", not_again)
    reader.feed(b"".join(frame(n, "y", times=True) for n in range(10, 20)))
    assert answer.content == "x" * 10 + "y" * 10

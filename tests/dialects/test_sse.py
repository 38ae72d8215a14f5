"""The event splitter: the standard's grammar, the oddities of providers, and every possible cut."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.sse import Event, EventSplitter, RawEvents, encode
from openai_proxy.errors import UpstreamInvalid


def split(stream: bytes, *cuts: int) -> list[Event]:
    splitter = EventSplitter()
    edges = [0, *sorted(cuts), len(stream)]
    events = [e for a, b in itertools.pairwise(edges) for e in splitter.feed(stream[a:b])]
    return events + splitter.flush()


STREAMS = {
    "plain": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "crlf": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "cr": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed line ends": (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [b"a", b"b", b"c"]),
    "no space": (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
    "comments": (b": OPENROUTER PROCESSING\n\n:\ndata: a\n: between\n\n", [b"a"]),
    "several data lines": (b"data: a\ndata\ndata: b\n\n", [b"a\n\nb"]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    "no blank line at the end": (b"data: a\n\ndata: b", [b"a", b"b"]),
    "unknown fields": (b"retry: 3\nfoo: bar\ndata: a\nbaz\n\n", [b"a"]),
    "an event without data": (b"event: ping\n\ndata: a\n\n", [b"a"]),
    "utf-8 line separators are no line ends": ("data: a\u2028b\x85\x0c\n\n".encode(), ["a\u2028b\x85\x0c".encode()]),
    "empty data": (b"data:\n\n", [b""]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_reads_every_form_whole_and_cut_at_every_byte(name: str) -> None:
    stream, expected = STREAMS[name]
    assert [e.data for e in split(stream)] == expected
    for cut in range(len(stream)):
        assert [e.data for e in split(stream, cut)] == expected, cut
    assert [e.data for e in split(stream, *range(len(stream)))] == expected


def test_names_apply_to_one_event_and_ids_persist() -> None:
    events = split(b"event: error\nid: 7\ndata: a\n\ndata: b\n\nevent: lost\n\ndata: c\n\n")
    assert events == [Event(b"a", "error", "7"), Event(b"b", "", "7"), Event(b"c", "", "7")]


@given(st.lists(st.text(st.characters(blacklist_characters="\r\n", codec="utf-8")), max_size=5), st.data())
def test_encoded_events_are_restored_at_any_cuts(texts: list[str], data: st.DataObject) -> None:
    stream = b"".join(encode(t.encode()) for t in texts)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    assert [e.data for e in split(stream, *cuts)] == [t.encode() for t in texts]


@given(st.binary(max_size=80), st.data())
def test_any_bytes_give_the_same_events_at_any_cuts(stream: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    assert split(stream, *cuts) == split(stream)


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 200, b"data: xxxxxxxx\n" * 20, b":" + b"x" * 200])
def test_an_endless_event_is_refused(stream: bytes) -> None:
    splitter = EventSplitter(max_event=100)

    def feed_all() -> None:
        for at in range(len(stream)):
            splitter.feed(stream[at : at + 1])

    with pytest.raises(UpstreamInvalid, match="more than 100 bytes") as caught:
        feed_all()
    assert caught.value.code == "upstream_event_too_large"


def test_many_small_events_are_not_one_large_one() -> None:
    splitter = EventSplitter(max_event=100)
    assert len(splitter.feed(b"data: 0123456789\n\n" * 100)) == 100


def test_time_is_linear_even_one_byte_at_a_time() -> None:
    def cost(size: int) -> float:
        splitter = EventSplitter()
        started = time.thread_time()
        for _ in range(size):
            splitter.feed(b"x")
        return time.thread_time() - started

    cost(10_000)
    # Eight times the bytes; quadratic would be 64 times the time. CPU time, and the best of three on a busy machine.
    assert any(cost(400_000) < cost(50_000) * 8 * 5 for _ in range(3))


@pytest.mark.parametrize(
    ("first", "then", "events"),
    [
        (b"data: a\n\n", b"data: b\rdata: c\n\n", [b"b\nc"]), (b"data: a\n\n", b"data: b\r\r\n\n", [b"b"]),
        (b"event: x\ndata: a\n\n", b"event: x\ndata: b\ndata: c\n\n", [b"b\nc"]),
        (b"event: x\ndata: a\n\n", b"data: b\n\n", [b"b"]), (b"data: a\n\ndat", b"a: b\n\n", [b"b"]),
        (b"data: a\n\n: c\n", b"data: b\n\n", [b"b"]), (b"data: a\n\nevent: x\n", b"data: b\n\n", [b"b"]),
    ],
)  # fmt: skip
def test_an_event_is_read_the_same_after_a_similar_one(first: bytes, then: bytes, events: list[bytes]):
    alone = EventSplitter()
    splitter = EventSplitter()
    splitter.feed(first)
    assert [event.data for event in splitter.feed(then)] == events
    assert splitter.feed(b"data: z\n\n") == [Event(b"z")]
    whole = alone.feed(first + then)
    assert [event.data for event in whole][1:] == events


def test_names_do_not_outlast_their_event():
    splitter = EventSplitter()
    pieces = [b"event: x\ndata: 1\n\n", b"event: x\ndata: 2\n\n", b"data: 3\n\n", b"event: x\n", b"data: 4\n\n"]
    assert [(e.data, e.name) for piece in pieces for e in splitter.feed(piece)] == [
        (b"1", "x"), (b"2", "x"), (b"3", ""), (b"4", "x"),
    ]  # fmt: skip


@given(st.lists(st.integers(1, 9000), max_size=6), st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]))
def test_an_event_past_the_cap_is_replaced_and_the_others_stay(pieces: list[int], end: bytes) -> None:
    small, large = b"data: s" + end, b"data: " + bytes(range(32, 127)) * 200 + end
    stream = small + large + small + large + small
    cut = RawEvents(10_000, lambda head, size, tail: b"<%b|%d|%b>" % (head[:7], size, tail[-3:]))
    found = []
    for size in itertools.cycle(pieces or [1]):
        if not stream:
            break
        found += cut.feed(stream[:size])
        stream = stream[size:]
    dropped = b"<%b|%d|%b>" % (large[:7], len(large), large[-3:])
    assert found == [small, dropped, small, dropped, small]
    assert cut.rest() == b""


def test_dropped_events_are_not_kept_in_memory() -> None:
    cut = RawEvents(10_000, lambda head, size, tail: b"%d" % size)
    for _ in range(1000):
        assert cut.feed(b"x" * 10_000) == []
        assert sum(map(len, cut._pieces)) <= 10_000
    assert cut.feed(b"\n\n") == [b"10000002"]

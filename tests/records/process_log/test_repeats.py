"""Repeated lines: shown once and counted, and none is lost in the end."""

import itertools
import logging

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.records.process_log.repeats import FIRST, LONGEST, MAX_LINES, Repeats
from tests.harness.clock import Clock


def line(text: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, text, None, None)


def test_the_first_is_shown_and_the_next_are_held_back() -> None:
    repeats = Repeats(Clock())
    assert [repeats.take(line("a"), "a") for _ in range(3)] == [0, None, None]
    assert repeats.take(line("b"), "b") == 0
    (told,) = repeats.flush()
    assert (told[0].getMessage(), told[1]) == ("a", 2)
    assert repeats.flush() == []


def test_a_line_that_keeps_coming_is_shown_ever_less_often() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    shown = []
    for second in range(0, 20_000, 30):
        clock.now = 1000.0 + second
        held = repeats.take(line("offline"), "offline")
        if held is not None:
            shown.append((second, held))
    assert shown[:4] == [(0, 0), (60, 1), (180, 3), (420, 7)]
    assert all(later[0] - sooner[0] <= LONGEST for sooner, later in itertools.pairwise(shown))


def test_suppressed_lines_are_due_after_their_pause() -> None:
    clock = Clock()
    repeats = Repeats(clock)
    for _ in range(5):
        repeats.take(line("a"), "a")
    assert repeats.due() == []
    assert repeats.wait() == FIRST
    clock.now += FIRST
    assert [count for _, count in repeats.due()] == [4]
    assert repeats.wait() is None


def test_the_count_is_reported_and_reset_after_a_recovery() -> None:
    repeats = Repeats(Clock())
    for _ in range(3):
        repeats.take(line("down"), "down", "upstream")
    repeats.take(line("other"), "other", "elsewhere")
    assert [(record.getMessage(), count) for record, count in repeats.recovered("upstream")] == [("down", 2)]
    assert repeats.recovered("upstream") == []
    assert repeats.take(line("down"), "down", "upstream") == 0


def test_names_of_clients_do_not_fill_memory() -> None:
    repeats = Repeats(Clock())
    for number in range(3 * MAX_LINES):
        repeats.take(line("x"), number, number)
    assert len(repeats._lines) == len(repeats._about) == MAX_LINES


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4000), st.booleans()), max_size=60))
def test_every_line_is_counted_exactly_once(coming: list[tuple[str, int, bool]]) -> None:
    clock = Clock()
    repeats = Repeats(clock)
    told = 0
    for text, later, recovers in coming:
        clock.now += later
        held = repeats.take(line(text), text, text)
        told += held + 1 if held is not None else 0
        told += sum(count for _, count in (repeats.recovered(text) if recovers else repeats.due()))
    assert told + sum(count for _, count in repeats.flush()) == len(coming)

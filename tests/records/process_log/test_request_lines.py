"""The log line of a finished request: who, what, where, how it ended and why."""

import io
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from openai_proxy.endpoints import at
from openai_proxy.exchange import Attempt, Caller, Exchange, Outcome, Target
from openai_proxy.records.process_log.output import PLAIN, TerminalHandler, only_reader
from openai_proxy.records.process_log.request_lines import BURST, RequestFacts, RequestLines
from openai_proxy.records.reading.tokens import Tokens
from openai_proxy.records.recording.finished_exchange import Finished, Work
from tests.records.conftest import with_members

FAMILY = Caller("192.168.1.7", "family", "0123456789ab", b"\x01" * 32)


def attempt(connection: str, *, model: str | None = None, **members: Any) -> Attempt:
    tried = Attempt(Target(connection, model), members.pop("key_id", None))
    for name, value in members.items():
        setattr(tried, name, value)
    return tried


def finished(*attempts: Attempt, caller: Caller = FAMILY, status: int = 200, **members: Any) -> Finished:
    tokens = members.pop("tokens", Tokens(812, 153))
    answer = members.pop("error", None)
    about = {
        "model": "fast",
        "connection": "groq",
        "upstream_model": "llama-4",
        "attempts": list(attempts),
        "started": 100.0,
        "first_byte": 100.214,
        "ended": 101.8,
        "outcome": Outcome.DONE,
        **members,
    }
    exchange = with_members(
        Exchange("req-1", caller, about.pop("method", "POST"), at(about.pop("path", "/chat/completions"))), **about
    )
    work = Work()
    work.answer.error = answer
    return Finished(exchange, status, work, tokens, exchange.error_code, None)


def text(of: Finished, labels: dict[str, str] | None = None) -> str:
    return RequestFacts(of, labels or {}).text(PLAIN)


def test_the_line_of_an_answer() -> None:
    assert text(finished(stream=True)) == "family  fast → groq.llama-4  200  0.21 s, 1.80 s in all  812 + 153 tokens"


def test_a_noticeable_wait_in_the_queue_is_shown_once() -> None:
    assert text(finished(queued=1.26, notes=["read"])).endswith("  [waited 1.3 s in the queue; read]")
    assert text(finished(queued=0.01)) == text(finished())


def test_a_model_with_the_same_name_upstream_is_named_once() -> None:
    assert text(finished(upstream_model="fast")).startswith("family  fast → groq  200  1.80 s")


def test_an_anonymous_client_has_its_address_and_other_paths_are_shown() -> None:
    line = text(finished(caller=Caller("192.168.1.9"), path="/embeddings", tokens=Tokens()))
    assert line == "192.168.1.9  POST /v1/embeddings fast → groq.llama-4  200  1.80 s"


def test_a_key_is_shown_with_its_name() -> None:
    assert text(finished(), {"0123456789ab": "PHONE_KEY"}).startswith("family (PHONE_KEY)  ")


def test_unknown_tokens_are_not_zero_and_estimates_are_marked() -> None:
    assert "tokens" not in text(finished(tokens=Tokens()))
    assert "about 10 + 20 tokens" in text(finished(tokens=Tokens(10, 20, estimated=True)))
    assert "10 + 20 tokens, 7 cached" in text(finished(tokens=Tokens(10, 20, cached=7)))


def test_failed_attempts_follow_the_answer() -> None:
    line = text(
        finished(
            attempt("ollama", model="llama3.2", error="upstream_unreachable", cause="connection refused by 10.0.0.2:1"),
            attempt("mistral", status=429, cause="Too many requests", key_id="k2"),
            attempt("groq", model="llama-4", status=200),
        ),
        {"k2": "MISTRAL_KEY_2"},
    )
    assert line.endswith(
        "(tried ollama.llama3.2: connection refused by 10.0.0.2:1; mistral with MISTRAL_KEY_2: 429 Too many requests)"
    )


def test_a_failure_has_its_cause_once() -> None:
    failure = finished(
        attempt("groq", model="llama-4", error="upstream_timeout", cause="no answer within 300 s (timeout.first_byte)"),
        status=504,
        outcome=Outcome.ERROR,
        error_code="upstream_timeout",
        tokens=Tokens(),
    )
    assert text(failure) == "family  fast → groq.llama-4  504  1.80 s  no answer within 300 s (timeout.first_byte)"
    assert RequestFacts(failure, {}).level == logging.ERROR


@pytest.mark.parametrize(
    ("members", "ending", "level"),
    [
        ({"status": 404, "error_code": "model_not_found", "outcome": Outcome.ERROR}, "404  1.80 s  no such", 30),
        ({"status": 400, "error": {"message": "max_tokens\nis too large"}}, "400  1.80 s  max_tokens is too large", 30),
        ({"status": 500, "error": {"detail": "out of memory"}}, "500  1.80 s  out of memory", 40),
        (
            {"status": 200, "error_code": "upstream_truncated", "outcome": Outcome.ERROR},
            "200 broken off  1.80 s  broke off in the middle of its answer",
            40,
        ),
        ({"status": 200, "outcome": Outcome.CLIENT_CLOSED}, "200 client left  1.80 s", 20),
    ],
)
def test_how_it_ended(members: dict[str, Any], ending: str, level: int) -> None:
    failure = finished(tokens=Tokens(), **members)
    assert ending in text(failure)
    assert RequestFacts(failure, {}).level == level


def test_names_of_clients_forge_no_line_and_are_cut() -> None:
    line = text(finished(model="x\n<0>\x1b[2J" + "y" * 1000))
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 300


def test_the_line_as_json() -> None:
    members = RequestFacts(finished(attempt("groq", model="llama-4", status=200)), {}).members()["request"]
    assert members["group"] == "family"
    assert (members["status"], members["first_word_seconds"], members["seconds"]) == (200, 0.214, 1.8)
    assert (members["input_tokens"], members["output_tokens"]) == (812, 153)
    assert "attempts" not in members
    assert "error" not in members


class Watched(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def watched() -> Iterator[Watched]:
    """The messages that the logger of requests gets."""
    logger = logging.getLogger("openai_proxy.request")
    handler = Watched()
    logger.addHandler(handler)
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.propagate = propagates


def test_a_flood_is_counted_and_not_written(watched: Watched) -> None:
    now = [100.0]
    lines = RequestLines(lambda: now[0])
    exchange = finished().exchange
    for _ in range(100):
        lines.went_well([(exchange, Tokens(1, 1))] * 32, 32)
    lines.flush()
    assert len(watched.records) == BURST
    assert lines.settle(False) is not None
    now[0] += 1.0
    assert lines.settle(False) is None
    assert watched.records[-1].getMessage() == f"{3200 - BURST} more requests, not shown line by line"
    lines.went_well([(exchange, Tokens(1, 1))], 1)
    lines.flush()
    assert len(watched.records) == BURST + 2


def test_no_more_exchanges_are_kept_than_lines_are_written(watched: Watched) -> None:
    now = [0.0]
    lines = RequestLines(lambda: now[0])
    exchange = finished().exchange
    assert lines.room() == BURST
    lines.went_well([(exchange, Tokens(1, 1))] * BURST, BURST + 5)
    lines.flush()
    assert (len(watched.records), lines.room()) == (BURST, 0)
    lines.went_well([], 3)
    now[0] += 1.0
    assert lines.settle(False) is None
    assert watched.records[-1].getMessage() == "8 more requests, not shown line by line"
    assert lines.room() == 50


@pytest.mark.parametrize("style", ["terminal", "plain", "journal"])
def test_lines_written_together_are_those_written_one_by_one(
    style: str, monkeypatch: pytest.MonkeyPatch, root_logger: logging.Logger
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    ended = [
        finished(),
        finished(stream=True, tokens=Tokens(10, 20, cached=7)),
        finished(status=500, error={"message": "down"}, outcome=Outcome.ERROR),
        finished(status=500, error={"message": "down"}, outcome=Outcome.ERROR),
        finished(upstream_model="fast", tokens=Tokens(1, 2, estimated=True)),
        finished(caller=Caller("192.168.1.9"), path="/embeddings", model="x\n\x1b[2J"),
        finished(outcome=Outcome.CLIENT_CLOSED),
        finished(queued=1.0),
    ]
    written = []
    for others in ([], [logging.NullHandler()]):
        stream = io.StringIO()
        root_logger.handlers[:] = [TerminalHandler(stream, style), *others]
        assert (only_reader(logging.getLogger("openai_proxy.request")) is None) == bool(others)
        lines = RequestLines()
        lines.labels = {"0123456789ab": "PHONE_KEY"}
        for one in ended:
            lines.finished(one)
        lines.flush()
        text = re.sub(r"\d\d:\d\d:\d\d", "TIME", stream.getvalue())
        written.append(text.splitlines())
    assert written[0] == written[1]
    assert len(written[0]) == len(ended), "the repeated failure must be reported with a count when its model recovers"
    assert sum("family (PHONE_KEY)" in line for line in written[0]) == 7


def test_new_names_of_keys_are_used_at_once(root_logger: logging.Logger) -> None:
    stream = io.StringIO()
    root_logger.handlers[:] = [TerminalHandler(stream, "journal")]
    lines = RequestLines()
    for name in ("PHONE", "TABLET"):
        lines.labels = {"0123456789ab": name}
        lines.finished(finished())
        lines.flush()
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == [
        "<6>family (PHONE)",
        "<6>family (TABLET)",
    ]


def test_no_line_when_switched_off(watched: Watched) -> None:
    lines = RequestLines()
    lines.enabled = False
    lines.finished(finished(status=500))
    assert lines.room() == 0
    assert watched.records == []


def test_above_info_only_failures_have_a_line(watched: Watched) -> None:
    logging.getLogger("openai_proxy.request").setLevel(logging.WARNING)
    lines = RequestLines()
    assert lines.room() == 0
    lines.finished(finished())
    lines.finished(finished(status=500))
    lines.flush()
    assert [record.levelno for record in watched.records] == [logging.ERROR]

"""Custom loggers: what they get, and that they cannot disturb anything else."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from openai_proxy.exchange import Caller, Outcome
from openai_proxy.records.custom_loggers import logger_threads as feeds_module
from openai_proxy.records.recording.service import Records
from openai_proxy.secrets import vault
from tests.records.conftest import JSON, exchange


@dataclass(frozen=True)
class Spec:
    class_: str = "openai_proxy.loggers.JsonLogger"
    file_name: str | None = "rows.jsonl"
    entry: Mapping[str, str] = field(default_factory=dict)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    found = Records(tmp_path / "logs", tmp_path / "state")
    yield found
    found.close()


def ask(records: Records, text: str = "hello") -> None:
    entry = records.open(
        exchange(caller=Caller("10.0.0.7", group="family", key_id="abcdefabcdef"), upstream_model="up")
    )
    entry.request(b'{"model": "gpt-4o", "user": "anna", "messages": [{"role": "user", "content": "hi"}]}')
    entry.response(200, JSON)
    entry.data(json.dumps({"choices": [{"message": {"content": text}}], "usage": {"total_tokens": 3}}).encode())
    entry.close(Outcome.DONE)


def settled(records: Records) -> None:
    assert records.recorder.flush()
    assert records.feeds.flush()


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_columns_are_paths_in_the_record(records: Records, tmp_path: Path) -> None:
    columns = {
        "model": "request.model",
        "first": "request.messages.0.content",
        "last": "request.messages.-1.role",
        "answer": "response.content",
        "as sent": "response.choices.0.message.content",
        "tokens": "response.usage.total_tokens",
        "who": "api_key_id",
        "group": "group",
        "where": "connection",
        "from": "remote_addr",
        "at": "created_at",
        "took": "duration",
        "nothing": "request.no.such.thing",
    }
    assert records.configure(loggers=[Spec(entry=columns)]) == []
    ask(records)
    settled(records)
    (row,) = rows(tmp_path / "logs" / "rows.jsonl")
    assert row.pop("at").endswith("Z")
    assert row.pop("took") >= 0
    assert row == {
        "model": "gpt-4o",
        "first": "hi",
        "last": "user",
        "answer": "hello",
        "as sent": "hello",
        "tokens": 3,
        "who": "abcdefabcdef",
        "group": "family",
        "where": "openrouter",
        "from": "10.0.0.7",
        "nothing": None,
    }
    assert (tmp_path / "logs" / "rows.jsonl").stat().st_mode & 0o777 == 0o600


def test_without_columns_everything_known_is_written(records: Records, tmp_path: Path) -> None:
    records.configure(loggers=[Spec()])
    ask(records)
    settled(records)
    (row,) = rows(tmp_path / "logs" / "rows.jsonl")
    assert row["request"]["user"] == "anna"
    assert row["response"]["content"] == "hello"
    assert row["status"] == 200


def test_no_known_secret_reaches_a_logger(records: Records, tmp_path: Path) -> None:
    vault.learn(["sk-logger-canary-77"])
    records.configure(loggers=[Spec(entry={"answer": "response.content"})])
    ask(records, "the key is sk-logger-canary-77")
    settled(records)
    assert rows(tmp_path / "logs" / "rows.jsonl") == [{"answer": "the key is [REDACTED]"}]


CONF = """
import threading
heard = []
gate = threading.Event()

class Mine:
    closed = 0
    def write(self, row):
        heard.append(row)
        row.clear()
    def close(self):
        Mine.closed += 1

def function(row):
    heard.append(("function", row["who"]))

def broken(row):
    raise RuntimeError("never works")

def slow(row):
    gate.wait(30)

NUMBER = 5
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "my_loggers.py").write_text(CONF)
    return tmp_path / "conf"


def spec(name: str) -> Spec:
    return Spec(f"my_loggers.{name}", None, {"who": "group"})


def test_a_class_and_a_function_of_the_user(records: Records, conf: Path) -> None:
    assert records.configure(loggers=[spec("function"), spec("Mine")], config_dir=conf) == []
    ask(records)
    settled(records)
    module = sys.modules["openai_proxy_conf.my_loggers"]
    assert len(module.heard) == 1  # each entry has its own copy of the module; the last one loaded is that of Mine
    assert module.heard == [{}]
    records.configure(config_dir=conf)
    assert module.Mine.closed == 1


def test_a_logger_that_fails_or_hangs_does_not_affect_others(
    records: Records, conf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds_module, "MAX_WAITING", 5)
    problems = records.configure(loggers=[Spec(entry={"who": "group"}), spec("broken"), spec("slow")], config_dir=conf)
    assert problems == []
    gate: threading.Event = sys.modules["openai_proxy_conf.my_loggers"].gate
    good, broken, slow = records.feeds.feeds
    for _ in range(20):
        ask(records)
        assert records.recorder.flush()
        assert good.flush(5)
        assert broken.flush(5)
    assert len(rows(tmp_path / "logs" / "rows.jsonl")) == 20
    assert broken.failed == 20
    assert caplog.text.count("logger broken failed") == 1
    assert slow.dropped == 14  # five wait, one is being written
    assert records._lost_rows() == {("JsonLogger",): 0, ("broken",): 20, ("slow",): 14}
    assert len(rows(tmp_path / "logs" / "gpt-4o_anna.jsonl")) == 40
    gate.set()


def test_every_invalid_entry_is_reported_and_the_others_work(records: Records, conf: Path, tmp_path: Path) -> None:
    problems = records.configure(
        loggers=[
            spec("NoSuchThing"),
            Spec("no_such_module.Logger", None),
            spec("NUMBER"),
            Spec("openai_proxy.loggers.JsonLogger", None),
            Spec(entry={"a": "reqest.model"}),
            Spec(entry={"good": "group", "bad": "nowhere"}),
        ],
        config_dir=conf,
    )
    assert [text.partition(" ")[0] for text in problems] == [f"loggers[{n}]" for n in range(6)]
    assert "did you mean request?" in problems[4]
    ask(records)
    settled(records)
    assert rows(tmp_path / "logs" / "rows.jsonl") == [{"good": "family"}]


def test_an_unchanged_entry_stays_the_same_object(records: Records, conf: Path) -> None:
    records.configure(loggers=[Spec(), spec("Mine")], config_dir=conf)
    before = records.feeds.feeds
    records.configure(loggers=[spec("Mine"), Spec()], config_dir=conf)
    assert set(records.feeds.feeds) == set(before)
    (conf / "my_loggers.py").write_text(CONF + "\n# edited\n")
    records.configure(loggers=[spec("Mine"), Spec()], config_dir=conf)
    assert len(set(records.feeds.feeds) & set(before)) == 1


def test_a_host_program_may_add_loggers(records: Records) -> None:
    heard: list[dict[str, Any]] = []
    records.feeds.add(heard.append, {"who": "group"})
    records.configure()
    ask(records)
    settled(records)
    assert heard == [{"who": "family"}]

"""A parameter that a model refuses costs one more request, once: it is learnt, for every kind of connection."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from tests.front.configurations import WAYS, front_conf, serving
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, LAST, SSE_HEAD, chunk, completion, delta, plain
from tests.harness.scripts import Seen
from tests.harness.upstream import Upstream

REFUSED = json.dumps({
    "error": {
        "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
        " instead.",
        "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter",
    }
}).encode()  # fmt: skip
VALUE = json.dumps({
    "error": {"message": "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 9.",
              "type": "invalid_request_error", "param": "temperature", "code": "decimal_above_max_value"}
}).encode()  # fmt: skip
STREAM = SSE_HEAD + chunk(delta("fine") + delta("", finish="stop") + DONE) + LAST


def ask(daemon: Daemon, model: str, **more: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, **more}
    return daemon.post("/v1/chat/completions", json.dumps(body, indent=1).encode())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_plain_connection_learns_within_the_request(daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    good = STREAM if stream else plain(completion("fine"))
    play = upstream.rounds(plain(REFUSED, "400 Bad Request"), good, good, good)
    answer = ask(daemon, play.model, **({"stream": True} if stream else {}))
    assert answer.status == 200
    assert b"fine" in answer.body
    assert answer.header("x-proxy-attempts") is None
    for _ in range(2):
        assert ask(daemon, play.model, **({"stream": True} if stream else {})).status == 200
    first, second, *later = play.bodies()
    assert (first["max_tokens"], "max_completion_tokens" in first) == (9, False)
    assert (second["max_completion_tokens"], "max_tokens" in second) == (9, False)
    assert play.requests[1].body.startswith(
        play.requests[0].body.partition(b',\n "max_tokens"')[0]
    )  # the client's own bytes
    assert all("max_completion_tokens" in body for body in later)


def test_a_refused_value_keeps_its_400(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.rounds(plain(VALUE, "400 Bad Request"))
    answer = ask(daemon, play.model, temperature=9)
    assert (answer.status, answer.body) == (400, VALUE)
    assert len(play.requests) == 1


def test_omitted_parameters_are_named(daemon: Daemon, upstream: Upstream) -> None:
    refused = json.dumps({"error": {"message": "Unknown parameter: 'seed'.", "param": "seed"}}).encode()
    play = upstream.rounds(plain(refused, "400 Bad Request"), plain(completion("fine")))
    answer = ask(daemon, play.model, seed=1)
    assert answer.status == 200
    assert answer.header("x-proxy-dropped") == "seed"


def test_a_model_that_refuses_everything_gets_only_a_few_requests(daemon: Daemon, upstream: Upstream) -> None:
    names = ("seed", "top_p", "temperature", "presence_penalty", "frequency_penalty", "store")
    refusals = [json.dumps({"error": {"message": f"Unknown parameter: '{name}'."}}).encode() for name in names]
    play = upstream.rounds(*(plain(refusal, "400 Bad Request") for refusal in refusals))
    answer = ask(daemon, play.model, **dict.fromkeys(names, 1))
    assert answer.status == 400
    assert len(play.requests) == 5


@pytest.mark.parametrize("way", WAYS)
def test_lessons_survive_a_restart(upstream: Upstream, tmp_path: Path, way: str) -> None:
    good = plain(completion("fine"))
    play = upstream.rounds(plain(REFUSED, "400 Bad Request"), good, good)
    with serving(tmp_path, front_conf(upstream), way) as daemon:
        assert ask(daemon, play.model).status == 200
    with serving(tmp_path, front_conf(upstream), way) as daemon:
        assert ask(daemon, play.model).status == 200
    assert "max_completion_tokens" in play.bodies()[-1]
    assert b"max_completion_tokens" in (tmp_path / "state" / "lessons.json").read_bytes()


def test_one_callers_text_teaches_nothing_about_others(daemon: Daemon, upstream: Upstream) -> None:
    """An error may quote the request; a lesson is only learnt if omitting the member has helped."""
    trick = "x'. Unsupported parameter: 'temperature' is not supported with this model."
    quoting = json.dumps({"error": {"message": f"Invalid value: '{trick}'"}}).encode()
    bad = plain(quoting, "400 Bad Request")
    good = plain(completion("fine"))
    play = upstream.rounds(bad, bad, good)
    answer = ask(daemon, play.model, temperature=0.5, service_tier=trick)
    assert (answer.status, answer.body) == (400, quoting)
    assert ask(daemon, play.model, temperature=0.5).status == 200
    assert play.bodies()[-1]["temperature"] == 0.5


LACKS: Final = json.dumps({
    "error": {"message": "Unsupported value: 'reasoning_effort' does not support 'none' with this model. Supported"
              " values are: 'low', 'medium', and 'high'.", "type": "invalid_request_error", "param": "reasoning_effort",
              "code": "unsupported_value"}
}).encode()  # fmt: skip


def lacks_none(seen: Seen) -> bytes:
    refused = seen.json().get("reasoning_effort") == "none"
    return plain(LACKS, "400 Bad Request") if refused else plain(completion("fine"))


@pytest.mark.parametrize("augmented", [False, True], ids=["plain", "augmented"])
@pytest.mark.parametrize(
    ("path", "asks"),
    [
        ("/api/chat", {"stream": False, "think": False}),
        ("/v1beta/models/{}:generateContent", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
    ],
)
def test_a_derived_value_that_the_model_refuses_is_omitted(
    daemon: Daemon, upstream: Upstream, path: str, asks: dict[str, Any], augmented: bool
) -> None:
    play = upstream.acting(lacks_none)
    if augmented:
        daemon.write(f"models/{play.model}.yaml", f"name: augmented/{play.model}\nupstream_model: {play.model}\n")
        daemon.control("POST", "/admin/reload")
    model = f"augmented/{play.model}" if augmented else play.model
    said = [{"role": "user", "content": "Hi", "parts": [{"text": "Hi"}]}]
    body = {"model": model, "messages": said, "contents": [{"role": "user", "parts": [{"text": "Hi"}]}], **asks}
    del body["contents" if path == "/api/chat" else "messages"]
    for _ in range(2):
        answer = daemon.post(path.format(model), json.dumps(body).encode())
        assert (answer.status, b"fine" in answer.body) == (200, True)
    assert [seen.get("reasoning_effort") for seen in play.bodies()] == ["none", None, None]


def test_a_refused_value_of_the_clients_own_keeps_its_400(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.acting(lacks_none)
    think = json.dumps({"model": play.model, "messages": [{"role": "user", "content": "Hi"}], "think": False,
                        "stream": False}).encode()  # fmt: skip
    assert daemon.post("/api/chat", think).status == 200  # teaches that the derived value is refused
    answer = ask(daemon, play.model, reasoning_effort="none")
    assert (answer.status, answer.body) == (400, LACKS)

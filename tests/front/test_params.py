"""`params` through the running daemon, with and without the fast path."""

from collections.abc import Iterator

import pytest

from tests.front.configurations import WAYS, connection
from tests.harness.daemon import Daemon
from tests.harness.plays import completion, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream


@pytest.fixture(scope="module")
def play(upstream: Upstream) -> Play:
    return upstream.play(plain(completion("fine")))


@pytest.fixture(scope="module")
def shaped(way: str, upstream: Upstream, play: Play, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    conf = {
        "connections": {
            "main": connection(upstream.url),
            "claude": connection(upstream.url.removesuffix("/v1"), api_type="anthropic"),
            "other": connection(upstream.url, params={"override": {"top_p": 0.5}, "drop": ["user"]}),
        },
        "default_connection": "main",
        "routing": {"elsewhere": f"other.{play.model}"},
        "params": {"default": {"temperature": 0.25}},
    }
    params = "{default: {temperature: 0.75}, override: {seed: 4}}"
    model = f"name: helper\nupstream_model: other:{play.model}\nparams: {params}\n"
    with Daemon(tmp_path_factory.mktemp(way), conf, files={"models/helper.yaml": model}, flags=WAYS[way]).serving(
        leaks=False
    ) as daemon:
        yield daemon


def test_global_params_apply_and_other_bytes_stay(shaped: Daemon, play: Play) -> None:
    before = len(play.requests)
    body = b'{"model": "%s",  "messages":[],\n"f":1.00}' % play.model.encode()
    assert shaped.post("/v1/chat/completions", body).status == 200
    assert play.requests[before].body == body[:-1] + b',"temperature":0.25}'


def test_a_connections_params_refine_the_global_ones(shaped: Daemon, play: Play) -> None:
    before = len(play.requests)
    assert shaped.post("/v1/chat/completions", b'{"model":"elsewhere","messages":[],"user":"me"}').status == 200
    sent = play.requests[before].json()
    assert sent == {"model": play.model, "messages": [], "temperature": 0.25, "top_p": 0.5}


def test_an_augmented_models_params_refine_its_connections(shaped: Daemon, play: Play) -> None:
    before = len(play.requests)
    shaped.post("/v1/chat/completions", b'{"model":"helper","messages":[{"role":"user","content":"hi"}],"user":"me"}')
    sent = play.requests[before].json()
    assert (sent["model"], sent["temperature"], sent["top_p"], sent["seed"]) == (play.model, 0.75, 0.5, 4)
    assert "user" not in sent


def test_other_endpoints_are_left_alone(shaped: Daemon, play: Play) -> None:
    before = len(play.requests)
    body = b'{"model":"%s","input":"x"}' % play.model.encode()
    assert shaped.post("/v1/embeddings", body).status == 200
    assert play.requests[before].body == body


def test_params_apply_to_translated_messages_requests(shaped: Daemon, play: Play) -> None:
    for model in (play.model, f"claude:{play.model}"):
        before = len(play.requests)
        body = b'{"model":"%s","max_tokens":50,"messages":[{"role":"user","content":"hi"}]}' % model.encode()
        shaped.post("/v1/messages", body)
        sent = play.requests[before].json()
        assert (sent["model"], sent["temperature"]) == (play.model, 0.25)


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/threads"])
def test_other_endpoints_with_messages_are_left_alone(shaped: Daemon, play: Play, path: str) -> None:
    before = len(play.requests)
    body = b'{"model":"claude:%s","messages":[{"role":"user","content":"hi"}]}' % play.model.encode()
    assert shaped.post(path, body).status == 200
    assert play.requests[before].body == body.replace(b"claude:", b"")

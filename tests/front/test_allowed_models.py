"""A key restricted by `allowed_models` reaches no other model by any endpoint, member, method or protocol."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.configurations import front_conf, serving
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream
from tests.harness.wire import Answer

CHILD, ADULT = "key-of-a-child-0123456789", "key-of-an-adult-0123456789"


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A child who may use some models, and an adult who may use all."""
    groups = {
        "child": {"api_keys": [CHILD], "allowed_models": ["child-*", "play-*"]},
        "adult": {"api_keys": [ADULT]},
    }
    with serving(tmp_path_factory.mktemp(way), front_conf(upstream, groups=groups), way) as running:
        yield running


def ask(
    daemon: Daemon, upstream: Upstream, method: str, path: str, body: Any = None, key: str = CHILD, **more: Any
) -> tuple[Answer, int]:
    """One request with `X-Play`; the answer, and how many requests reached the upstream for it."""
    play = upstream.play(plain(b"{}"))
    headers = [("X-Play", play.model), *more.pop("headers", [])]
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    with daemon.wire() as wire:
        answer = wire.request(method, path, body=data, key=key, headers=headers, **more).answer(method=method)
    return answer, len(play.requests)


ACCOUNT = [
    ("POST", "/v1/engines/gpt-5/completions", {"prompt": "x"}),
    ("POST", "/v1/engines/gpt-5/completions", {"prompt": "x", "model": "child-1"}),
    ("DELETE", "/v1/models/child-1", None),
    ("DELETE", "/v1/models/ft:other", None),
    ("POST", "/v1/models/child-1", {"model": "child-1"}),
    ("GET", "/v1/files", None),
    ("GET", "/v1/files/file-1/content", None),
    ("DELETE", "/v1/files/file-1", None),
    ("PUT", "/v1/files", b"{}"),
    ("POST", "/v1/uploads", {"model": "child-1"}),
    ("GET", "/v1/batches", None),
    ("POST", "/v1/batches", {"model": "child-1", "input_file_id": "f"}),
    ("POST", "/v1/messages/batches", {"model": "child-1", "requests": []}),
    ("POST", "/v1/fine_tuning/jobs", {"model": "child-1", "training_file": "f"}),
    ("POST", "/v1/fine-tunes", {"model": "child-1"}),
    ("POST", "/v1/assistants", {"model": "child-1"}),
    ("GET", "/v1/assistants", None),
    ("POST", "/v1/threads/t/runs", {"model": "child-1"}),
    ("GET", "/v1/organization/users", None),
    ("POST", "/v1/organization/projects", {"model": "child-1"}),
    ("GET", "/v1/responses/resp_of_others", None),
    ("DELETE", "/v1/responses/resp_of_others", None),
    ("POST", "/v1/responses/resp_of_others/cancel", {"model": "child-1"}),
    ("GET", "/v1/chat/completions", None),
    ("GET", "/v1/chat/completions/chatcmpl-1", None),
    ("GET", "/v1/vector_stores", None),
    ("POST", "/v1/vector_stores", {"name": "x", "model": "child-1"}),
    ("GET", "/v1/videos/v1/content", None),
    ("DELETE", "/v1/images/x", {"model": "child-1"}),
    ("GET", "/v1/generation?id=g", None),
    ("GET", "/v1/credits", None),
    ("POST", "/v1/anything", {"model": "child-1"}),
    ("OPTIONS", "/v1/anything", None),
    ("POST", "/v1/containers", {"model": "child-1"}),
    ("POST", "/v1/evals", {"model": "child-1"}),
    ("POST", "/v1/realtime/client_secrets", {"session": {"model": "gpt-realtime"}}),
]


@pytest.mark.parametrize(("method", "path", "body"), ACCOUNT)
def test_account_endpoints_are_not_allowed(
    daemon: Daemon, upstream: Upstream, method: str, path: str, body: Any
) -> None:
    answer, asked = ask(daemon, upstream, method, path, body)
    assert answer.status in {403, 404}
    assert asked == 0
    assert ask(daemon, upstream, method, path, body, key=ADULT)[1] in {0, 1}  # 0: the daemon answers it itself


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches", "/v1/organization/users", "/v1/assistants"])
def test_an_unrestricted_key_may_use_account_endpoints(daemon: Daemon, upstream: Upstream, path: str) -> None:
    answer, asked = ask(daemon, upstream, "GET", path, key=ADULT)
    assert (answer.status, asked) == (200, 1)


NAMELESS = [
    ("/v1/images/generations", {"prompt": "x"}),
    ("/v1/audio/speech", {"input": "x"}),
    ("/v1/responses", {"input": "x"}),
    ("/v1/responses", {"prompt": {"id": "pmpt_1"}}),
    ("/v1/videos", {"prompt": "x"}),
    ("/v1/rerank", {"query": "x"}),
]


@pytest.mark.parametrize(("path", "body"), NAMELESS)
def test_generating_endpoints_must_name_a_model(daemon: Daemon, upstream: Upstream, path: str, body: Any) -> None:
    answer, asked = ask(daemon, upstream, "POST", path, body)
    assert answer.status in {400, 403, 404}
    assert asked == 0
    answer, asked = ask(daemon, upstream, "POST", path, {**body, "model": "child-1"})
    assert (answer.status, asked) == (200, 1)
    answer, asked = ask(daemon, upstream, "POST", path, {**body, "model": "gpt-5"})
    assert (answer.status, asked) == (404, 0)


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/tokenize", "/v1/detokenize"])
def test_other_endpoints_need_no_model(daemon: Daemon, upstream: Upstream, path: str) -> None:
    assert ask(daemon, upstream, "POST", path, {"input": "x"})[1] == 1
    assert ask(daemon, upstream, "POST", path, {"input": "x", "model": "gpt-5"})[0].status == 404


def test_a_restricted_key_sees_only_its_models(daemon: Daemon) -> None:
    assert daemon.get("/v1/models", key=CHILD).status == 200
    assert daemon.get("/v1/models/gpt-5", key=CHILD).status == 404


OTHERS: list[dict[str, Any]] = [
    {"models": ["gpt-5"]},
    {"models": ["child-2", "gpt-5"]},
    {"models": "gpt-5"},
    {"models": {"a": "gpt-5"}},
    {"models": [7]},
    {"models": [None]},
    {"fallbacks": ["gpt-5"]},
    {"fallbacks": [{"model": "gpt-5"}]},
    {"fallbacks": [{"child-1": ["gpt-5"]}]},
    {"fallbacks": "gpt-5"},
    {"route": "gpt-5"},
    {"preset": "@preset/other"},
    {"route": ["gpt-5"]},
    {"tools": [{"type": "image_generation", "model": "gpt-5"}]},
    {"tools": [{"type": "openrouter:image_generation", "parameters": {"model": "gpt-5"}}]},
    {"plugins": [{"id": "fusion", "model": "gpt-5"}]},
    {"plugins": [{"id": "fusion", "analysis_models": ["child-2", "gpt-5"]}]},
    {"providerOptions": {"gateway": {"models": ["gpt-5"]}}},
    {"compound_custom": {"models": {"answering_model": "gpt-5"}}},
    {"fallback_models": ["gpt-5"]},
    {"fallback_model": "gpt-5"},
    {"fallbackModel": "gpt-5"},
    {"extra_body": {"model": "gpt-5"}},
    {"MODELS": ["gpt-5"]},
    {"Fallbacks": ["gpt-5"]},
    {"ROUTE": "gpt-5"},
    {"extra_body": {"MODEL": "gpt-5"}},
    {"model_name": "gpt-5"},
    {"modelId": "gpt-5"},
    {"a": {"fallback_model_ids": ["gpt-5"]}},
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/completions"])
def test_other_models_in_the_body_are_checked(
    daemon: Daemon, upstream: Upstream, path: str, other: dict[str, Any]
) -> None:
    body = {"model": "child-1", "messages": [], "prompt": "x", "input": "x"}
    assert ask(daemon, upstream, "POST", path, body)[1] == 1  # the fast path remembers that this was allowed
    answer, asked = ask(daemon, upstream, "POST", path, {**body, **other})
    assert (answer.status, asked) == (404, 0)
    assert ask(daemon, upstream, "POST", path, {**body, **other}, key=ADULT)[1] == 1


@pytest.mark.parametrize(
    "other",
    [
        {"models": ["child-2", "child-3"]}, {"models": []}, {"fallbacks": [{"model": "child-2"}]},
        {"route": "fallback"},
        {"plugins": [{"id": "web", "max_results": 3}]}, {"compound_custom": {"models": {"answering_model": "child-2"}}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"model": "schema"}}}]},
        {"tools": [{"name": "f", "input_schema": {"properties": {"model": {"type": "string"}}}}]},
        {"generationConfig": {"responseSchema": {"properties": {"model": {"type": "string"}}}}},
        {"response_format": {"json_schema": {"model": "x"}}, "metadata": {"model": "x"}},
        {"fallbacks": None}, {"tools": [{"type": "image_generation", "model": "child-img"}]}, {"fallbacks": []},
    ],
)  # fmt: skip
def test_allowed_models_in_the_body_pass(daemon: Daemon, upstream: Upstream, other: dict[str, Any]) -> None:
    body = {"model": "child-1", "messages": [], **other}
    answer, asked = ask(daemon, upstream, "POST", "/v1/chat/completions", body)
    assert (answer.status, asked) == (200, 1)


TWICE = [
    b'"models":["gpt-5"],"models":["child-1"]', b'"fallbacks":["gpt-5"],"fallbacks":[]',
    b'"route":"gpt-5","route":"fallback"', b'"extra_body":{"model":"gpt-5"},"extra_body":0',
    b'"extra_body":{"model":"gpt-5","m\\u006fdel":"child-1"}',
    b'"tools":[{"type":"image_generation","model":"gpt-5","model":"child-1"}]',
    b'"tools":[{"type":"x:y","type":"function","parameters":{"model":"gpt-5"}}]',
]  # fmt: skip


@pytest.mark.parametrize("twice", TWICE)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/images/generations"])
def test_a_duplicate_member_is_refused(daemon: Daemon, upstream: Upstream, path: str, twice: bytes) -> None:
    """Of two equal members, some providers use the first and others the last."""
    body = b'{"model":"child-1","messages":[],"prompt":"x","input":"x"'
    assert ask(daemon, upstream, "POST", path, body + b"}")[1] == 1  # the fast path remembers that this was allowed
    for padding in (b"", b" " * 600_000):
        answer, asked = ask(daemon, upstream, "POST", path, body + b"," + padding + twice + b"}")
        check_error(answer, 400, "invalid_json")
        assert asked == 0


@pytest.mark.parametrize("name", ["child-1,gpt-5", "child-1, gpt-5", "gpt-5,child-1", "child-1,"])
def test_a_list_of_models_in_one_name(daemon: Daemon, upstream: Upstream, name: str) -> None:
    answer, asked = ask(daemon, upstream, "POST", "/v1/chat/completions", {"model": name, "messages": []})
    assert (answer.status, asked) == (404, 0)
    body = {"model": "child-1,play-2", "messages": []}
    assert ask(daemon, upstream, "POST", "/v1/chat/completions", body)[1] == 1


@pytest.mark.parametrize("query", ["model=gpt-5", "MODEL=gpt-5", "x=1;model=gpt-5", "mod%65l=gpt-5", "models[]=gpt-5"])
def test_a_model_in_the_query(daemon: Daemon, upstream: Upstream, query: str) -> None:
    for path in ("/v1/chat/completions", "/v1/images/generations"):
        answer, asked = ask(daemon, upstream, "POST", f"{path}?{query}", {"model": "child-1", "messages": []})
        assert (answer.status, asked) == (404, 0)


@pytest.mark.parametrize("name", [b"fallbacks", b"models[]", b"fallback_model", b"Models"])
def test_other_models_in_a_form(daemon: Daemon, upstream: Upstream, name: bytes) -> None:
    fields = (b'name="%b"' % name, b"gpt-5"), (b'name="model"', b"child-1")
    parts = b"".join(b"--b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % field for field in fields)
    kind = "multipart/form-data; boundary=b"
    for key, status in ((CHILD, 404), (ADULT, 200)):
        answer, asked = ask(
            daemon, upstream, "POST", "/v1/audio/transcriptions", parts + b"--b--\r\n", key, content_type=kind
        )
        assert (answer.status, asked) == (status, int(status == 200))


@pytest.mark.parametrize(
    "query", ["", "?model=gpt-5", "?call_id=rtc_1", "?model=child-1&model=gpt-5", "?Model=child-1"]
)
def test_realtime_without_an_allowed_model(daemon: Daemon, upstream: Upstream, query: str) -> None:
    upgrade = [
        ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]  # fmt: skip
    answer, asked = ask(daemon, upstream, "GET", f"/v1/realtime{query}", headers=upgrade)
    assert answer.status in {400, 403, 404}
    assert asked == 0


@pytest.mark.parametrize("key", [CHILD, ADULT])
@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "BREW", "get"])
def test_methods_that_are_refused(daemon: Daemon, upstream: Upstream, method: str, key: str) -> None:
    play = upstream.play(plain(b"{}"))
    before = len(upstream.unclaimed)
    with daemon.wire() as wire:
        for target in ("/v1/models", "/v1/files"):
            wire.try_send(
                f"{method} {target} HTTP/1.1\r\nHost: {wire.host}\r\nAuthorization: Bearer {key}\r\n"
                f"X-Play: {play.model}\r\n\r\n".encode()
            )
        assert wire.answer().status in {400, 405}
    assert play.requests == []
    assert not [seen for seen in upstream.unclaimed[before:] if seen.method == method]


def test_an_upload_without_a_body_names_no_model(daemon: Daemon, upstream: Upstream) -> None:
    kind = "multipart/form-data; boundary=b"
    answer, asked = ask(daemon, upstream, "POST", "/v1/audio/transcriptions", b"", content_type=kind)
    assert answer.status in {400, 403, 404}
    assert asked == 0


def test_a_connections_own_model_counts_as_the_named_one(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    groups = {"child": {"api_keys": [CHILD], "allowed_models": ["child-*"]}}
    for model, status in (("child-1", 200), ("gpt-5", 404)):
        conf = front_conf(upstream, groups=groups)
        conf["connections"]["main"]["model"] = model
        with serving(tmp_path_factory.mktemp("own"), conf, "spliced") as daemon:
            answer, asked = ask(daemon, upstream, "POST", "/v1/images/generations", {"prompt": "x"})
            assert (answer.status, asked) == (status, int(status == 200))

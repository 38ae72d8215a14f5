"""Which paths exist: models, health, every `/v1/…`, the known roots without it; others are 404 and not forwarded."""

import hashlib
import json

import pytest

from tests.harness.answers import check_error
from tests.harness.daemon import CANARY, Daemon
from tests.harness.manners import MODELS
from tests.harness.plays import plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually


def listed(daemon: Daemon) -> set[str]:
    return {model["id"] for model in daemon.get("/v1/models").json()["data"]}


def test_models_are_listed_from_the_upstream(daemon: Daemon) -> None:
    eventually(lambda: set(MODELS) <= listed(daemon), "the catalog has been filled")
    answer = daemon.get("/v1/models").json()
    assert answer["object"] == "list"
    for model in answer["data"]:
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert isinstance(model["owned_by"], str)


@pytest.mark.parametrize("root", ["/v1/models/", "/models/"])
@pytest.mark.parametrize("model", MODELS)
def test_one_model_by_its_id_with_slashes(daemon: Daemon, root: str, model: str) -> None:
    eventually(lambda: set(MODELS) <= listed(daemon), "the catalog has been filled")
    assert daemon.get(root + model).json()["id"] == model
    assert daemon.get(root + model.replace("/", "%2F")).json()["id"] == model


@pytest.mark.parametrize("model", MODELS)
def test_one_model_by_its_connections_name(daemon: Daemon, model: str) -> None:
    eventually(lambda: set(MODELS) <= listed(daemon), "the catalog has been filled")
    eventually(lambda: daemon.get(f"/v1/models/brisk:{model}").status == 200, "the other connection has answered, too")
    shown = daemon.get(f"/v1/models/brisk:{model}").json()
    assert shown == daemon.get(f"/v1/models/{model}").json() | {"id": f"brisk:{model}"}


def test_head_requests_for_lists_are_not_forwarded(daemon: Daemon, upstream: Upstream) -> None:
    eventually(lambda: set(MODELS) <= listed(daemon), "the catalog has been filled")
    whole = daemon.get("/v1/models")
    with daemon.wire() as wire:
        answer = wire.request("HEAD", "/v1/models").answer(method="HEAD")
    assert (answer.status, answer.header("content-length")) == (200, whole.header("content-length"))
    assert "HEAD" not in {seen.method for seen in upstream.unclaimed if seen.target.endswith("/models")}


@pytest.mark.parametrize(
    "model",
    ["nobody/knows", "brisk:nobody", "nobody:m-small", "brisk:", ":m-small", "m-small/x", "..", "%2e%2e/health"],
)
def test_an_unknown_model_is_a_404(daemon: Daemon, model: str) -> None:
    eventually(lambda: set(MODELS) <= listed(daemon), "the catalog has been filled")
    answer = daemon.get(f"/v1/models/{model}")
    check_error(answer, answer.status)
    assert answer.status == 404 or (model.startswith((".", "%2e")) and answer.status == 400)


def test_the_list_is_answered_from_the_cache(daemon: Daemon, upstream: Upstream) -> None:
    eventually(lambda: set(MODELS) <= listed(daemon), "the catalog has been filled")
    before = len([seen for seen in upstream.unclaimed if seen.target.endswith("/models")])
    for _ in range(50):
        assert daemon.get("/models").status == 200
    assert len([seen for seen in upstream.unclaimed if seen.target.endswith("/models")]) - before <= 1


ALIASES = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/responses",
    "/audio/speech",
    "/audio/translations",
    "/images/generations",
    "/images/edits",
    "/moderations",
    "/rerank",
]


@pytest.mark.parametrize("prefix", ["/v1", ""])
@pytest.mark.parametrize("path", [path for path in ALIASES if path != "/rerank"])
def test_json_paths_with_and_without_v1(daemon: Daemon, upstream: Upstream, prefix: str, path: str) -> None:
    play = upstream.play(plain(b'{"ok":1}'))
    body = json.dumps({"model": play.model, "input": "x", "messages": []}).encode()
    assert daemon.post(prefix + path, body).body == b'{"ok":1}'
    seen = play.wait()
    assert (seen.target, seen.body) == (f"/v1{path}", body)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/files",
        "/v1/files?limit=2&after=a%2Fb&x=1+2",
        "/v1/files/file-1/content",
        "/v1/batches/b%20c",
        "/v1/threads/t/runs/r",
        "/v1/fine_tuning/jobs?x=%C3%A9",
        "/v1/vector_stores/v/search",
        "/v1/some/future/path",
        "/v1/responses/resp_1/input_items?order=asc",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_on_every_v1_path(daemon: Daemon, upstream: Upstream, method: str, target: str) -> None:
    play = upstream.play(plain(b"{}") if method != "HEAD" else plain(b"{}")[:-2])
    body = None if method in {"GET", "HEAD", "DELETE"} else b"\x00any bytes\xff"
    with daemon.wire() as wire:
        for count in (1, 2):  # twice: the first request must not affect the second
            wire.request(method, target, body=body, headers=[("X-Play", play.model)], content_type="application/x-any")
            answer = wire.answer(method=method)
            assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else b"{}")
            seen = play.wait(count)
            assert (seen.method, seen.target, seen.body) == (method, target, body or b"")
            if method == "HEAD":
                assert answer.header("content-length") == "2"
                break  # the scripted upstream's HEAD answer has no body, so both connections stay in sync


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/v2/chat/completions",
        "/v1",
        "/v1x/models",
        "/api",
        "/.env",
        "/conf/proxy.yaml",
        "/admin/nope",
        "/robots.txt",
        "/favicon.ico",
        "//v2/files",
        "/V1/files",
        "/http://evil.example/v1/files",
        "/filesx",
        "/imagesx/y",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_other_path_is_404_and_not_forwarded(daemon: Daemon, upstream: Upstream, method: str, path: str) -> None:
    play = upstream.play(plain(b"{}"))
    with daemon.wire() as wire:
        body = b"{}" if method == "POST" else None
        wire.request(method, path, body=body, headers=[("X-Play", play.model)])
        answer = wire.answer(method=method)
    check_error(answer, answer.status)
    assert answer.status in {404, 405}
    assert play.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin/status",
        "/v1/%2e%2e/admin/status",
        "/v1/files/../../admin",
        "/v1/./models/../files",
        "/../../etc/passwd",
        "/v1/files/..%2f..%2fadmin",
        "/v1/files/%2e%2e%2f%2e%2e%2fx",
        "/v1/..\\admin",
        "/files/../../x",
    ],
)
def test_dot_segments_cannot_leave_the_api(daemon: Daemon, upstream: Upstream, path: str) -> None:
    """Nothing above the API's root is requested upstream, and none of our own routes can be reached that way."""
    play = upstream.play(plain(b"{}"))
    answer = daemon.get(path, headers=[("X-Play", play.model)])
    assert b'"generation"' not in answer.body
    if answer.status != 200:
        check_error(answer, answer.status)
        assert answer.status in {400, 404}
    for seen in play.requests:
        assert seen.target.startswith("/v1/"), seen.target
        assert ".." not in seen.target.split("/"), seen.target


def test_requests_without_a_model_go_to_the_default_connection(daemon: Daemon, upstream: Upstream) -> None:
    answer = daemon.get("/v1/batches")
    assert answer.json() == {"method": "GET", "path": "/batches", "size": 0}


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/responses", "/images/generations", "/v1/vector_stores"])
def test_a_model_may_be_omitted_where_providers_have_a_default(daemon: Daemon, upstream: Upstream, path: str) -> None:
    play = upstream.play(plain(b"{}"))
    body = b'{ "input": "is this fine?" }'
    assert daemon.post(path, body, headers=[("x-play", play.model)]).status == 200
    assert play.wait().body == body


def test_get_on_chat_completions(daemon: Daemon, upstream: Upstream) -> None:
    """GET lists stored completions: the same path with another method."""
    play = upstream.play(plain(b'{"object":"list"}'))
    answer = daemon.get("/v1/chat/completions?limit=3", headers=[("X-Play", play.model)])
    assert answer.body == b'{"object":"list"}'
    assert play.wait().target == "/v1/chat/completions?limit=3"


@pytest.mark.parametrize("path", ["/v1/files", "/v1/files/f/content", "/v1/models-x"])
def test_head(daemon: Daemon, upstream: Upstream, path: str) -> None:
    play = upstream.play(plain(b"{}")[:-2])
    with daemon.wire() as wire:
        answer = wire.request("HEAD", path, headers=[("X-Play", play.model)]).answer(method="HEAD")
        assert (answer.status, answer.all("content-length")) == (200, ["2"])
        assert wire.request("GET", "/health").answer(method="GET").status == 200


@pytest.mark.parametrize(
    "target",
    ["/v1/chat/completions/", "//v1/chat/completions", "/v1//chat//completions", "/v1/v1/chat/completions",
     "/chat/completions/", "/v1/chat/completions/?x=1"],
)  # fmt: skip
def test_spellings_of_one_endpoint(daemon: Daemon, upstream: Upstream, target: str) -> None:
    play = upstream.play(plain(b"{}"))
    answer = daemon.post(target, b'{"model":"%s","messages":[]}' % play.model.encode())
    assert answer.status == 200
    assert play.wait().target == "/v1/chat/completions" + ("?x=1" if "?" in target else "")


@pytest.mark.parametrize(
    "target", ["/v1/chat/completion%73", "/v1/chat%2Fcompletions", "/v1/%63hat/completions", "/v1/chat/completion%2573"]
)
def test_a_path_that_decodes_to_another_endpoint_is_not_forwarded(
    daemon: Daemon, upstream: Upstream, target: str
) -> None:
    play = upstream.play(plain(b"{}"))
    answer = daemon.post(target, b'{"model":"%s","messages":[]}' % play.model.encode())
    check_error(answer, 404)
    assert not play.requests


@pytest.mark.parametrize("target", ["/v1/files/%2e%2ex", "/v1/files/a%7Eb", "/v1/files/a%2eb?x=%7e&y=%2E"])
def test_a_target_is_sent_unchanged(daemon: Daemon, upstream: Upstream, target: str) -> None:
    play = upstream.play(plain(b"{}"))
    daemon.get(target, headers=[("X-Play", play.model)])
    assert play.wait().target == target


@pytest.mark.parametrize("root", ["/v1/messages", "/messages"])
def test_messages_pass_through_to_a_provider_with_that_api(daemon: Daemon, upstream: Upstream, root: str) -> None:
    play = upstream.play(plain(b'{"type":"message", "content":[]}'))
    body = b'{"max_tokens":9,  "model":"claude:%s","messages":[{"role":"user","content":"Hi"}]}' % play.model.encode()
    headers = [("anthropic-version", "2023-06-01"), ("anthropic-beta", "x-1")]
    answer = daemon.post(root, body, headers=headers)
    assert answer.body == b'{"type":"message", "content":[]}'
    seen = play.wait()
    assert (seen.target, seen.body) == ("/v1/messages", body.replace(b"claude:", b""))
    assert (seen.header("x-api-key"), seen.header("authorization")) == (CANARY, None)
    assert (seen.header("anthropic-version"), seen.header("anthropic-beta")) == ("2023-06-01", "x-1")


# Multipart

BOUNDARY = "----front-door-boundary"


def multipart(*parts: tuple[str, bytes]) -> bytes:
    """A form; a name with `.` in it is a file."""
    out = bytearray()
    for name, value in parts:
        disposition = f'form-data; name="{name}"'
        if "." in name:
            disposition = f'form-data; name="file"; filename="{name}"\r\nContent-Type: audio/wav'
        out += f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + value + b"\r\n"
    return bytes(out) + f"--{BOUNDARY}--\r\n".encode()


SOUND = bytes(range(256)) * 2000 + b"\r\n--not-the-boundary\r\n" + f"\r\n--{BOUNDARY}x".encode()


@pytest.mark.parametrize("order", ["model-first", "model-last", "no-model"])
@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/audio/transcriptions", "/v1/images/edits"])
def test_a_form_is_sent_byte_for_byte(daemon: Daemon, upstream: Upstream, order: str, path: str) -> None:
    play = upstream.play(plain(b'{"text":"good morning"}'))
    file, model = ("a.wav", SOUND), ("model", play.model.encode())
    form = multipart(*{"model-first": (model, file), "model-last": (file, model), "no-model": (file,)}[order])
    headers = [("X-Play", play.model)]  # lets the scripted upstream recognise the request by its head
    answer = daemon.post(path, form, headers=headers, content_type=f"multipart/form-data; boundary={BOUNDARY}")
    assert answer.body == b'{"text":"good morning"}'
    seen = play.wait()
    assert seen.digest == hashlib.sha256(form).hexdigest()
    assert seen.header("content-type") == f"multipart/form-data; boundary={BOUNDARY}"
    assert seen.target == "/v1/" + path.removeprefix("/v1/").removeprefix("/")


@pytest.mark.parametrize("order", ["model-first", "model-last"])
def test_the_model_of_a_form_is_routed(daemon: Daemon, upstream: Upstream, order: str) -> None:
    """`connection:model` works here too, and only that field's value changes."""
    play = upstream.play(plain(b"{}"))
    file = ("a.wav", SOUND)
    asked, sent = ("model", b"idle:whisper-1"), ("model", b"whisper-1")
    pick = (lambda model: (model, file)) if order == "model-first" else (lambda model: (file, model))
    form = multipart(*pick(asked))
    headers = [("X-Play", play.model)]
    content_type = f'multipart/form-data; boundary="{BOUNDARY}"'
    assert daemon.post("/v1/audio/transcriptions", form, headers=headers, content_type=content_type).status == 200
    assert play.wait().body == multipart(*pick(sent))


def test_a_form_without_its_end_causes_no_crash(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    form = multipart(("a.wav", SOUND), ("model", b"m"))[:-30]
    headers = [("X-Play", play.model)]
    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    answer = daemon.post("/v1/audio/transcriptions", form, headers=headers, content_type=content_type)
    if answer.status == 200:
        assert play.wait().body == form
    else:
        check_error(answer, 400)

"""Whatever a provider could read in a request is checked: bodies of any type, forms, codings, paths."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.configurations import front_conf, serving
from tests.harness.answers import check_error
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream

KEY = "key-of-a-child-0123456789"
SECRET = "a-secret-of-the-house-42"


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a restricted child, and with a secret."""
    groups = {"child": {"api_keys": [KEY], "allowed_models": ["child-*", "play-*"]}}
    conf = front_conf(upstream, groups=groups)
    with serving(tmp_path_factory.mktemp(way), conf, way, env={"HOUSE_TOKEN": SECRET}) as running:
        yield running


TYPES = ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "", "text/json; x", "image/png"]
PATHS = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/odd",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", TYPES)
def test_json_with_another_content_type(daemon: Daemon, upstream: Upstream, path: str, content_type: str) -> None:
    """The model is checked, and secrets are removed, as with `application/json`."""
    play = upstream.play(plain(b"{}"))
    body = json.dumps({"model": "forbidden", "messages": [], "prompt": "x"}).encode()
    headers = [("X-Play", play.model), ("Content-Type", content_type)]
    answer = daemon.post(path, body, key=KEY, headers=headers, content_type=None)
    assert answer.status in {403, 404}
    assert play.requests == []
    said = {"model": play.model, "messages": [{"role": "user", "content": SECRET}], "prompt": SECRET, "input": SECRET}
    for lead in (b"", b" \r\n\t"):
        answer = daemon.post(path, lead + json.dumps(said).encode(), key=KEY, headers=headers, content_type=None)
        assert answer.status in {200, 403, 404}
    assert all(SECRET.encode() not in seen.body for seen in play.requests)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_json_that_only_some_servers_read(daemon: Daemon, upstream: Upstream, path: str, encoding: str) -> None:
    play = upstream.play(plain(b"{}"))
    body = '{"model": "forbidden", "prompt": "x"}'.encode(encoding)
    answer = daemon.post(path, body, key=KEY, headers=[("X-Play", play.model)], content_type="text/plain")
    check_error(answer, 400, "invalid_json")
    assert play.requests == []


def test_several_content_types_are_refused(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    headers = [
        ("Content-Type", "application/octet-stream"),
        ("Content-Type", "application/json"),
        ("X-Play", play.model),
    ]
    answer = daemon.post("/v1/odd", b'{"model": "forbidden"}', key=KEY, headers=headers, content_type=None)
    check_error(answer, 400)
    assert play.requests == []


def test_every_line_of_the_content_encoding_counts(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    body = gzip.compress(json.dumps({"model": "forbidden", "messages": []}).encode())
    headers = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]
    answer = daemon.post("/v1/chat/completions", body, key=KEY, headers=headers)
    assert answer.status == 404
    assert play.requests == []


def test_a_decompression_bomb_is_refused(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    body = gzip.compress(json.dumps({"model": play.model, "x": " " * (30 << 20)}).encode())
    answer = daemon.post("/v1/chat/completions", body, key=KEY, headers=[("Content-Encoding", "gzip")])
    check_error(answer, 413)
    assert play.requests == []


# Forms

DISPOSITION = b"Content-Disposition: form-data; "


def form(*parts: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"--b\r\n" + head + b"\r\n\r\n" + value + b"\r\n" for head, value in parts) + b"--b--\r\n"


def upload(daemon: Daemon, upstream: Upstream, body: bytes, *, kind: str = "", **more: Any) -> tuple[Any, int, Any]:
    play = upstream.play(plain(b"{}"))
    kind = kind or "multipart/form-data; boundary=b"
    headers = [("X-Play", play.model), *more.pop("headers", [])]
    answer = daemon.post("/v1/audio/transcriptions", body, key=KEY, headers=headers, content_type=kind, **more)
    return answer, len(play.requests), play


FILE = (DISPOSITION + b'name="file"; filename="a.wav"', b"RIFF")


@pytest.mark.parametrize(
    "head", [b'name = "model"', b"name=model", b'name="model" ; x=y', b'NAME="model"', b'filename="x"; name="model"']
)
def test_a_forbidden_model_in_a_form(daemon: Daemon, upstream: Upstream, head: bytes) -> None:
    answer, asked, _ = upload(daemon, upstream, form(FILE, (DISPOSITION + head, b"forbidden")))
    assert answer.status == 404
    assert asked == 0
    answer, asked, _ = upload(daemon, upstream, form(FILE, (DISPOSITION + head, b"child-1")))
    assert (answer.status, asked) == (200, 1)


@pytest.mark.parametrize(
    "body",
    [
        form((DISPOSITION + b'name="mod\\el"', b"forbidden"), (DISPOSITION + b'name="model"', b"child-1")),
        form((DISPOSITION + b'name="Model"', b"forbidden"), (DISPOSITION + b'name="model"', b"child-1")),
        form((DISPOSITION + b"name*=utf-8''model", b"forbidden"), (DISPOSITION + b'name="model"', b"child-1")),
        form((DISPOSITION + b'name="model"', b"child-1"), (DISPOSITION + b'name="model"', b"forbidden")),
        form((DISPOSITION + b'name="x"\r\n ;name="model"', b"forbidden"), (DISPOSITION + b'name="model"', b"child-1")),
        form((DISPOSITION + b'name="model"\r\nContent-Transfer-Encoding: base64', b"Y2hpbGQtMQ==")),
        form((DISPOSITION + b'name="model"', b"child-1")).replace(b"child-1", b"x\n--b\r\n\r\nchild-1"),
        form((DISPOSITION + b'name="model"', b"child-1")) + form((DISPOSITION + b'name="model"', b"forbidden")),
        form((DISPOSITION + b'name="model"', b"child-1"))[:-8],
        b"no form at all",
        b"",
    ],
)
def test_a_form_that_can_be_misread_is_refused(daemon: Daemon, upstream: Upstream, body: bytes) -> None:
    answer, asked, play = upload(daemon, upstream, body)
    assert answer.status in {400, 403, 404}
    if asked:
        assert not play.requests[0].whole.is_set(), "the whole form reached the upstream"


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=b; boundary=c",
        "multipart/form-data; boundary=c; Boundary=b",
        "multipart/form-data; boundary=b; charset=utf-16",
        "multipart/form-data; boundary*=utf-8''b",
        "multipart/form-data",
    ],
)
def test_a_boundary_that_can_be_misread_is_refused(daemon: Daemon, upstream: Upstream, kind: str) -> None:
    answer, asked, _ = upload(daemon, upstream, form((DISPOSITION + b'name="model"', b"child-1")), kind=kind)
    check_error(answer, 400, "invalid_multipart")
    assert asked == 0


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "identity, gzip"])
def test_a_compressed_form_is_refused(daemon: Daemon, upstream: Upstream, coding: str) -> None:
    body = gzip.compress(form((DISPOSITION + b'name="model"', b"forbidden")))
    answer, asked, _ = upload(daemon, upstream, body, headers=[("Content-Encoding", coding)])
    check_error(answer, 400, "unsupported_encoding")
    assert asked == 0


@pytest.mark.parametrize("encoded", [b"quoted-printable", b"base64", b"x-odd"])
def test_a_secret_in_an_encoded_part(daemon: Daemon, upstream: Upstream, encoded: bytes) -> None:
    part = (DISPOSITION + b'name="prompt"\r\nContent-Transfer-Encoding: ' + encoded, SECRET.encode())
    answer, asked, _ = upload(daemon, upstream, form(part, (DISPOSITION + b'name="model"', b"child-1")))
    check_error(answer, 400, "invalid_multipart")
    assert asked == 0


# Paths


@pytest.mark.parametrize(
    "target",
    [
        "/v1/..%2fadmin", "/v1/..%2f/x", "/v1/%2e%2e/x", "/v1/%2e%2e%2fx", "/v1/x/..%2f..%2f..%2fsecret",
        "/v1/..%252fx",
        "/v1/%252e%252e%252fx", "/v1/..%5cx", "/v1/a/%2e%2e%2f%2e%2e/x", "/v1/..%25252fx", "/v1/..;/x", "/v1/.%2e/x",
    ],
)  # fmt: skip
def test_no_path_leaves_the_root_of_the_api(daemon: Daemon, upstream: Upstream, target: str) -> None:
    before = len(upstream.unclaimed)
    for method in ("GET", "POST"):
        with daemon.wire() as wire:
            answer = wire.request(method, target, body=b"{}" if method == "POST" else None, key=KEY).answer(
                method=method
            )
            assert answer.status in {400, 404}
    assert [
        seen.target for seen in upstream.unclaimed[before:] if ".." in seen.target or "%2" in seen.target.lower()
    ] == []


@pytest.mark.parametrize(
    "target",
    [
        "/v1/chat/completion%73", "/v1/chat%2Fcompletions", "/v1/chat%2fcompletions", "//v1//chat//completions",
        "/v1/v1/chat/completions", "/v1/chat/completions/", "/v1/chat/completions//", "/v1/%63hat/completions",
        "/v1/chat/completion%2573", "/v1/chat/./completions", "/v1/chat/completions%00", "/v1/chat/completions%20",
        "/v1/chat/completions;x", "/v1/chat/Completions", "/V1/chat/completions",
    ],
)  # fmt: skip
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_access_does_not_depend_on_spelling(daemon: Daemon, upstream: Upstream, target: str, content_type: str) -> None:
    play = upstream.play(plain(b"{}"))
    headers = [("X-Play", play.model)]
    body = json.dumps({"model": "forbidden", "messages": [{"role": "user", "content": CANARY}]}).encode()
    answer = daemon.post(target, body, key=KEY, headers=headers, content_type=content_type)
    assert answer.status in {400, 404}
    assert play.requests == []

"""Headers in both directions: all pass except hop-by-hop ones, cookies, credentials and those of this hop (row 38)."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.front.configurations import connection, front_conf, serving
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import LAST, TWO, chunk, head, plain
from tests.harness.upstream import Upstream


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    own = connection(upstream.url, headers={"X-Title": "home"}, organization="org-1", project="proj-1")
    conf = front_conf(upstream, connections={"own": own})
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


PASS_UP = [
    ("User-Agent", "Test/1.0 (x; y)"),
    ("Accept", "text/event-stream"),
    ("OpenAI-Beta", "assistants=v2"),
    ("X-Custom", "ä"),
    ("x-stainless-lang", "python"),
    ("anthropic-version", "2023-06-01"),
    ("Accept-Encoding", "gzip, br"),
    ("Range", "bytes=0-1"),
    ("Idempotency-Key", "abc"),
    ("If-None-Match", '"x"'),
    ("traceparent", "00-1-2-03"),
    ("X-Empty", ""),
    ("Priority", "u=1"),
]
STOP_UP = [
    ("Cookie", "session=1"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-Host", "a"),
    ("X-Forwarded-Proto", "https"),
    ("Forwarded", "for=1.2.3.4"),
    ("X-Real-IP", "127.0.0.1"),
    ("Via", "1.1 squid"),
    ("Keep-Alive", "timeout=5"),
    ("TE", "trailers"),
    ("Proxy-Authorization", "Basic x"),
    ("Proxy-Connection", "keep-alive"),
    ("x-api-key", "client"),
    ("api-key", "client"),
    ("X-Private-Hop", "1"),
    ("Connection", "X-Private-Hop, keep-alive"),
    ("Authorization", "Bearer client"),
]


def test_request_headers_are_forwarded(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    assert daemon.chat(play.model, headers=PASS_UP).status == 200
    seen = play.wait()
    for name, value in PASS_UP:
        assert seen.header(name) == value, name
    assert seen.header("content-type") == "application/json"
    assert seen.header("host") == f"127.0.0.1:{upstream.port}"


def test_row38_hop_by_hop_headers_are_not_forwarded(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    assert daemon.chat(play.model, headers=STOP_UP).status == 200
    seen = play.wait()
    for name, value in STOP_UP:
        assert value not in seen.all(name), name
    assert seen.header("authorization") == f"Bearer {CANARY}"


def test_repeated_headers_stay_repeated_and_in_order(daemon: Daemon, upstream: Upstream) -> None:
    answer_headers = [("X-Multi", "1"), ("X-Other", "x"), ("X-Multi", "2"), ("Link", "<a>"), ("Link", "<b>")]
    play = upstream.play(head("200 OK", [*answer_headers, ("Content-Length", "2")]) + b"{}")
    answer = daemon.chat(play.model, headers=[("X-Tag", "a"), ("X-Mid", "m"), ("X-Tag", "b"), ("x-tag", "c")])
    assert play.wait().all("x-tag") == ["a", "b", "c"]
    assert answer.all("x-multi") == ["1", "2"]
    assert answer.all("link") == ["<a>", "<b>"]


def test_the_connections_own_headers_are_added(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    headers = [("X-Title", "spoofed"), ("OpenAI-Organization", "org-client"), ("X-Else", "1")]
    assert daemon.chat(f"own:{play.model}", headers=headers).status == 200
    seen = play.wait()
    assert seen.header("x-title") == "home"
    assert seen.header("openai-organization") == "org-1"
    assert seen.header("openai-project") == "proj-1"
    assert seen.header("x-else") == "1"


PASS_DOWN = {
    "Content-Type": "application/json; charset=utf-8",
    "openai-processing-ms": "12",
    "openai-version": "2020-10-01",
    "x-request-id": "req-upstream",
    "x-ratelimit-limit-requests": "60",
    "Cache-Control": "no-store",
    "ETag": '"x"',
    "X-Empty": "",
    "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
    "Content-Disposition": 'attachment; filename="a.bin"',
    "X-Latin": "ä",
}
STOP_DOWN = {
    "Set-Cookie": "a=b",
    "Access-Control-Allow-Origin": "https://evil.example",
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": "*",
    "Alt-Svc": 'h3=":443"',
    "Keep-Alive": "timeout=5",
    "Proxy-Authenticate": "Basic",
    "X-Private-Hop": "1",
    "Connection": "keep-alive, X-Private-Hop",
    "Upgrade": "h2c",
    "Trailer": "X-Sum",
}


@pytest.mark.parametrize("kind", ["length", "chunked", "error"])
def test_row38_response_headers(daemon: Daemon, upstream: Upstream, kind: str) -> None:
    framing = {"Transfer-Encoding": "chunked"} if kind == "chunked" else {"Content-Length": str(len(TWO))}
    body = chunk(TWO) + LAST if kind == "chunked" else TWO
    status = "500 Oops" if kind == "error" else "200 OK"
    play = upstream.play(head(status, {**PASS_DOWN, **STOP_DOWN, **framing}) + body)
    answer = daemon.chat(play.model)
    assert (answer.status, answer.body) == (int(status[:3]), TWO)
    for name, value in PASS_DOWN.items():
        assert answer.header(name) == value, name
    for name, value in STOP_DOWN.items():
        assert value not in answer.all(name), name


def test_row38_a_cookie_never_reaches_another_request(daemon: Daemon, upstream: Upstream) -> None:
    first = upstream.play(plain(b"{}", Set_Cookie="session=alice; Path=/"))
    second = upstream.play(plain(b"{}"))
    daemon.chat(first.model)
    daemon.chat(second.model)
    assert second.wait().header("cookie") is None


def test_every_answer_has_a_request_id(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    ids = {daemon.chat(play.model).header("x-request-id") for _ in range(3)}
    ids |= {daemon.get(path).header("x-request-id") for path in ("/health", "/v1/models", "/nowhere")}
    assert len(ids) == 6
    assert None not in ids


@pytest.mark.parametrize("target", ["/v1/chat/completions", "/v1/models", "/health", "/nowhere", "/v1/files"])
@pytest.mark.parametrize("session", ["kitchen-1", "küche".encode().decode("latin-1"), "küche"])
def test_a_session_id_is_echoed_everywhere_byte_for_byte(daemon: Daemon, target: str, session: str) -> None:
    headers = [("X-Session-ID", session)]  # the harness writes and reads latin-1: unchanged bytes
    if target.endswith("completions"):
        for _ in range(2):
            assert daemon.chat("m", headers=headers).header("x-session-id") == session
        assert daemon.post(target, b"oops", headers=headers).header("x-session-id") == session
    else:
        assert daemon.get(target, headers=headers).header("x-session-id") == session


def test_no_session_id_is_invented(daemon: Daemon) -> None:
    assert daemon.chat("m").header("x-session-id") is None


def test_answers_reveal_nothing_about_the_software(daemon: Daemon) -> None:
    for answer in (daemon.chat("m"), daemon.get("/health"), daemon.get("/nowhere")):
        assert "aiohttp" not in str(answer.headers).lower()
        assert "python" not in str(answer.headers).lower()


NAMES = st.from_regex(r"X-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,30}", fullmatch=True).filter(
    lambda name: (
        not name.lower().startswith(("x-forwarded", "x-real", "x-api", "x-play", "x-session", "x-request", "x-proxy"))
    )
)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(str.strip)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(headers=st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_arbitrary_headers_both_ways(daemon: Daemon, upstream: Upstream, headers: list[tuple[str, str]]) -> None:
    play = upstream.play(head("200 OK", [*headers, ("Content-Length", "2")]) + b"{}")
    answer = daemon.chat(play.model, headers=headers)
    names = {name.lower() for name, _ in headers}
    assert [pair for pair in play.wait().headers if pair[0].lower() in names] == headers
    assert [pair for pair in answer.headers if pair[0].lower() in names] == headers


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "503 No"])
def test_no_header_of_any_answer_contains_our_key(daemon: Daemon, upstream: Upstream, status: str) -> None:
    """Some gateways report which key they saw, in errors or in every answer; the rest of the answer passes."""
    shown = {"X_Key_Used": f"Bearer {CANARY}", "x_custom": "kept"}
    streamed = head(status, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", "X-Key": CANARY})
    for answer, body in ((plain(b"{}", status, **shown), b"{}"), (streamed + chunk(TWO) + LAST, TWO)):
        for _ in range(2):  # the second answer has a head that was read before
            play = upstream.play(answer)
            got = daemon.chat(play.model)
            assert (got.status, got.body) == (int(status[:3]), body)
            assert CANARY not in str(got.headers)
            if body == b"{}":
                assert got.header("x-custom") == "kept"

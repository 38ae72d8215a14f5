"""The fault matrix, rows 1-18: what can go wrong before an upstream's answer has begun."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.front.configurations import BRISK, connection, front_conf, serving
from tests.harness import plays
from tests.harness.answers import check_error
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import FIN, HOLD, RST, head, plain
from tests.harness.upstream import Upstream


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """An upstream with a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    path: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server = Upstream(tls=context).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def daemon(
    way: str,
    upstream: Upstream,
    self_signed: Upstream,
    closed_port: int,
    black_hole: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Daemon]:
    places = {
        "refused": connection(f"http://127.0.0.1:{closed_port}"),
        "hole": connection(f"http://127.0.0.1:{black_hole}", timeout=BRISK),
        "nowhere": connection("http://no-such-host.invalid"),
        "selfsigned": connection(self_signed.url),
        "notls": connection(upstream.url.replace("http:", "https:")),
    }
    with serving(tmp_path_factory.mktemp(way), front_conf(upstream, connections=places), way) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("place", "status", "code"),
    [
        pytest.param("refused", 502, "upstream_unreachable", id="row01-refused"),
        pytest.param("hole", 504, None, id="row02-blackhole"),
        pytest.param("nowhere", 502, "upstream_unreachable", id="row03-dns"),
        pytest.param("selfsigned", 502, "upstream_tls_error", id="row04-self-signed"),
        pytest.param("notls", 502, "upstream_tls_error", id="row04-no-tls-there"),
    ],
)
def test_no_connection(daemon: Daemon, place: str, status: int, code: str | None, stream: bool) -> None:
    error = check_error(daemon.chat(f"{place}:m", stream=stream), status, code)
    assert "timeout" in error["code"] or status == 502
    assert place in error["message"], "the message does not name the connection"


def test_row04_nothing_is_sent_to_an_untrusted_server(daemon: Daemon, self_signed: Upstream) -> None:
    play = self_signed.play(plain(b"{}"))
    check_error(daemon.chat(f"selfsigned:{play.model}"), 502, "upstream_tls_error")
    assert play.requests == []


@pytest.mark.parametrize(
    ("steps", "status", "code"),
    [
        pytest.param([FIN], 502, "upstream_disconnected", id="row05-fin"),
        pytest.param([RST], 502, "upstream_disconnected", id="row06-rst"),
        pytest.param([HOLD], 504, "upstream_timeout", id="row07-silence"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Ty", HOLD], 504, "upstream_timeout", id="row08-half-head"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Ty", FIN], 502, None, id="row08-half-head-then-fin"),
        pytest.param(
            [b"\x15\x03\x01\x00\x02\x02\x50" * 9, FIN], 502, "upstream_invalid_response", id="row09-tls-alert"
        ),
        pytest.param([b"SSH-2.0-OpenSSH_9.2\r\n\r\n", HOLD], 502, "upstream_invalid_response", id="row09-ssh"),
        pytest.param([b"<html>hello</html>\n" * 20, HOLD], 502, "upstream_invalid_response", id="row09-bare-html"),
        pytest.param(
            [head("200 OK", {"X-Big": "x" * 70_000, "Content-Length": "0"})], 502, None, id="row10-70KB-header"
        ),
        pytest.param(
            [head("200 OK", [*((f"X-{n}", "y") for n in range(5000)), ("Content-Length", "0")])],
            *(502, None),
            id="row10-5000-headers",
        ),
        pytest.param([head("200 OK", {"X-Nul": "a\0b", "Content-Length": "0"})], 502, None, id="row10-nul"),
        pytest.param(
            [head("200 OK", {"Content-Length": "3", "Transfer-Encoding": "chunked"}) + plays.LAST],
            *(502, "upstream_invalid_response"),
            id="row11-cl-and-te",
        ),
        pytest.param(
            [head("200 OK", [("Content-Length", "3"), ("Content-Length", "5")]) + b"abcde"],
            *(502, "upstream_invalid_response"),
            id="row11-two-cls",
        ),
        pytest.param(
            [head("200 OK", {"Content-Length": "-1"}) + b"abc"],
            502,
            "upstream_invalid_response",
            id="row11-negative-cl",
        ),
        pytest.param(
            [head("200 OK", {"Content-Length": "3x"}) + b"abc"], 502, "upstream_invalid_response", id="row11-odd-cl"
        ),
    ],
)
def test_no_usable_head(
    daemon: Daemon, upstream: Upstream, steps: list[plays.Step], status: int, code: str | None
) -> None:
    upstream.restart()  # on a new connection, so that the break cannot be mistaken for a stale connection
    play = upstream.play(*steps, name="nohead")
    connection = "brisk" if status == 504 else "main"
    error = check_error(daemon.chat(f"{connection}:{play.model}"), status, code)
    assert connection in error["message"]
    seen = play.wait()
    assert len(play.requests) == 1, "a delivered POST was sent again"
    assert seen.gone() or steps[-1] in (FIN, RST), "the upstream connection is still open"


def test_row11_the_next_request_gets_its_own_connection(daemon: Daemon, upstream: Upstream) -> None:
    bad = upstream.play(head("200 OK", [("Content-Length", "3"), ("Content-Length", "5")]) + b"abcde")
    good = upstream.play(plain(b"{}"))
    check_error(daemon.chat(bad.model), 502)
    assert daemon.chat(good.model).status == 200
    assert good.wait().connection != bad.wait().connection


def test_row12_two_hundred_early_hints(daemon: Daemon, upstream: Upstream) -> None:
    hints = head("103 Early Hints", {"Link": "</x>; rel=preload"}) * 200
    play = upstream.play(hints + plain(b'{"ok":true}'))
    answer = daemon.chat(play.model)
    assert (answer.status, answer.body) == (200, b'{"ok":true}')


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_row13_a_redirect_is_not_passed_on(daemon: Daemon, upstream: Upstream, status: str) -> None:
    trap = Upstream().start()
    try:
        play = upstream.play(head(status, {"Location": f"{trap.url}/steal", "Content-Length": "0"}))
        answer = daemon.chat(play.model, headers=[("X-Api-Key-Not", "1")])
        check_error(answer, 502, "upstream_redirect")
        assert answer.header("location") is None
        assert trap.accepted == 0
    finally:
        trap.stop()


def test_row14_rate_limits_pass_with_headers(daemon: Daemon, upstream: Upstream) -> None:
    body = b'{"error": {"message":"slow down","type":"rate_limit","code":null} }'
    more = {"Retry_After": "7", "X_RateLimit_Remaining": "0", "x_request_id": "req-from-upstream"}
    play = upstream.play(plain(body, "429 Too Many Requests", **more))
    answer = daemon.chat(play.model)
    assert (answer.status, answer.body) == (429, body)
    assert answer.header("retry-after") == "7"
    assert answer.header("x-ratelimit-remaining") == "0"
    assert answer.header("x-request-id") == "req-from-upstream"
    assert answer.header("x-proxy-error") is None


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
@pytest.mark.parametrize("body", [b'{"error":"no"}', b"Incorrect key: " + CANARY.encode()], ids=["silent", "echo"])
def test_row15_a_refused_key_of_ours_is_our_error(daemon: Daemon, upstream: Upstream, status: str, body: bytes) -> None:
    answer = daemon.chat(upstream.play(plain(body, status, WWW_Authenticate="Bearer")).model)
    assert "main" in check_error(answer, 502, "upstream_auth")["message"]
    assert answer.header("www-authenticate") is None


@pytest.mark.parametrize("framing", ["length", "chunked", "close", "split"])
@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "500 Oops", "429 Slow"])
def test_row15_no_error_body_contains_our_key(daemon: Daemon, upstream: Upstream, status: str, framing: str) -> None:
    body = b'{"error":{"message":"bad request with key ' + CANARY.encode() + b'"}}'
    json_type = {"Content-Type": "application/json"}
    steps: dict[str, list[plays.Step]] = {
        "length": [plain(body, status)],
        "chunked": [head(status, json_type | {"Transfer-Encoding": "chunked"}), plays.chunk(body), plays.LAST],
        "close": [head(status, json_type), body, FIN],
        "split": [head(status, json_type | {"Content-Length": str(len(body))}), body[:50], body[50:60], body[60:]],
    }
    check_error(daemon.chat(upstream.play(*steps[framing], name="echo").model), 502)


@pytest.mark.parametrize("status", ["200 OK", "502 Bad Gateway"])
def test_row16_html_passes_unchanged(daemon: Daemon, upstream: Upstream, status: str) -> None:
    page = b"<html><body>502 Bad Gateway</body></html>"
    answer = daemon.chat(upstream.play(plain(page, status, "text/html")).model)
    assert (answer.status, answer.body) == (int(status[:3]), page)
    assert answer.header("content-type") == "text/html"
    assert answer.header("x-proxy-error") is None


@pytest.mark.parametrize(
    ("wire", "status", "body"),
    [
        pytest.param(plain(b""), 200, b"", id="row17-empty"),
        pytest.param(head("204 No Content"), 204, b"", id="row17-204"),
        pytest.param(head("304 Not Modified", {"ETag": '"x"'}), 304, b"", id="row17-304"),
        pytest.param(plain(b'{"a":1}', content_type=None), 200, b'{"a":1}', id="row17-no-content-type"),
        pytest.param(plain(b'{"a":1}', "299 Odd Reason"), 299, b'{"a":1}', id="odd-status"),
        pytest.param(plain(b'{"a":1}', "200"), 200, b'{"a":1}', id="no-reason"),
    ],
)
def test_short_answers(daemon: Daemon, upstream: Upstream, wire: bytes, status: int, body: bytes) -> None:
    with daemon.wire() as client:
        for _ in range(2):  # the second request checks that both connections are still in sync
            answer = client.chat(upstream.play(wire, name="little").model).answer()
            assert (answer.status, answer.body, answer.complete) == (status, body, True)
        content_type = None if b"Content-Type" not in wire else "application/json"
        assert answer.header("content-type") == content_type


def test_row18_surplus_bytes_never_answer_the_next_request(daemon: Daemon, upstream: Upstream) -> None:
    poison = plain(b"POISON")
    bad = upstream.play(plain(b'{"ok":1}') + poison, name="extra")
    good = upstream.play(plain(b'{"ok":2}'), name="next")
    with daemon.wire() as wire:
        for _ in range(5):
            first = wire.chat(bad.model).answer()
            assert (first.status, first.body) == (200, b'{"ok":1}')
            second = wire.chat(good.model).answer()
            assert (second.status, second.body) == (200, b'{"ok":2}')


def test_row18_late_surplus_bytes_never_answer_the_next_request(daemon: Daemon, upstream: Upstream) -> None:
    """The second answer arrives when the connection is already back in the pool."""
    gate = upstream.gate()
    bad = upstream.play(plain(b'{"ok":1}'), gate, plain(b"POISON"), name="late")
    good = upstream.play(plain(b'{"ok":2}'), name="next")
    with daemon.wire() as wire:
        assert wire.chat(bad.model).answer().body == b'{"ok":1}'
        gate.open()
        assert bad.wait().gone(), "the connection with surplus bytes is kept"
        assert wire.chat(good.model).answer().body == b'{"ok":2}'

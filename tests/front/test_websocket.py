"""`/v1/realtime`: a WebSocket passes through, is routed by `?model=`, and ends on both sides together."""

from collections.abc import Iterator

import pytest

from tests.front.house import connection, front_conf, serving
from tests.harness import plays
from tests.harness.answers import check_error
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import HOLD, plain
from tests.harness.upstream import Play, Upstream
from tests.harness.waiting import eventually
from tests.harness.websocket import BINARY, CLOSE, PING, PONG, TEXT, accept, echo, frame, new_key, take
from tests.harness.wire import Wire

KEY = "sk-front-0123456789abcdef"


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    conf = front_conf(upstream, groups={"family": {"api_keys": [KEY]}}, connections={"other": connection(upstream.url)})
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


def knock(
    daemon: Daemon, play: Play, target: str = "/v1/realtime?model=m", *, key: str | None = KEY
) -> tuple[Wire, str]:
    """A handshake sent; the wire and the nonce."""
    nonce = new_key()
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", nonce),
        ("Sec-WebSocket-Version", "13"),
    ]
    headers += [("X-Play", play.model), ("OpenAI-Beta", "realtime=v1")]
    return daemon.wire().request("GET", target, headers=headers, key=key), nonce


def echoing(upstream: Upstream, got: list[tuple[int, bytes]]) -> Play:
    play = upstream.play()
    play.steps = (echo(lambda: play.requests[-1], got), plays.FIN)
    return play


@pytest.mark.parametrize("root", ["/v1/realtime", "/realtime"])
def test_messages_pass_both_ways(daemon: Daemon, upstream: Upstream, root: str) -> None:
    got: list[tuple[int, bytes]] = []
    play = echoing(upstream, got)
    wire, nonce = knock(daemon, play, f"{root}?model=gpt-realtime&x=1")
    answer = wire.read_head(method="GET")
    assert answer.status == 101
    assert answer.header("sec-websocket-accept") == accept(nonce)
    assert (answer.header("upgrade") or "").lower() == "websocket"
    messages = [(TEXT, b'{"type":"session.update"}'), (BINARY, bytes(range(256)) * 40), (TEXT, "grüß 🚀".encode())]
    messages += [(BINARY, b"x" * 200_000), (TEXT, b"")]
    for kind, data in messages:
        wire.send(frame(kind, data, masked=True))
        assert take(wire.read_exactly) == (kind, data)
    assert got == messages
    seen = play.begun()
    assert seen.target == "/v1/realtime?model=gpt-realtime&x=1"
    assert seen.header("authorization") == f"Bearer {CANARY}"
    assert seen.header("openai-beta") == "realtime=v1"
    wire.send(frame(CLOSE, b"\x03\xe8bye", masked=True))
    kind, data = take(wire.read_exactly)
    assert (kind, data[:2]) == (CLOSE, b"\x03\xe8")
    wire.wait_closed()


def test_a_ping_is_answered(daemon: Daemon, upstream: Upstream) -> None:
    play = echoing(upstream, [])
    wire, _ = knock(daemon, play)
    wire.read_head(method="GET")
    wire.send(frame(PING, b"are you there", masked=True))
    assert take(wire.read_exactly) == (PONG, b"are you there")


def test_the_model_of_the_query_chooses_the_connection(daemon: Daemon, upstream: Upstream) -> None:
    play = echoing(upstream, [])
    wire, _ = knock(daemon, play, "/v1/realtime?x=1&model=other%3Agpt-realtime&y=2")
    assert wire.read_head(method="GET").status == 101
    assert play.begun().target == "/v1/realtime?x=1&model=gpt-realtime&y=2"


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_client_that_leaves_ends_it_upstream(daemon: Daemon, upstream: Upstream, how: str) -> None:
    play = echoing(upstream, [])
    wire, _ = knock(daemon, play)
    wire.read_head(method="GET")
    wire.send(frame(TEXT, b"hello", masked=True))
    take(wire.read_exactly)
    wire.close() if how == "fin" else wire.abort()
    assert play.begun().gone()
    eventually(lambda: daemon.clients() == 0, "the client's side is closed")


def test_an_upstream_that_breaks_off_ends_it_for_the_client(daemon: Daemon, upstream: Upstream) -> None:
    gate = upstream.gate()
    got: list[tuple[int, bytes]] = []
    play = upstream.play()

    async def first_message(peer: object) -> None:
        task = upstream.loop.create_task(echo(lambda: play.requests[-1], got)(peer))  # type: ignore[arg-type]
        await gate.passed()
        task.cancel()

    play.steps = (first_message, plays.RST)
    wire, _ = knock(daemon, play)
    assert wire.read_head(method="GET").status == 101
    wire.send(frame(TEXT, b"hello", masked=True))
    take(wire.read_exactly)
    gate.open()
    wire.wait_closed()


def test_a_refused_handshake_passes_as_the_answer_it_is(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b'{"error":{"message":"no such model"}}', "404 Not Found"))
    wire, _ = knock(daemon, play)
    answer = wire.answer(method="GET")
    assert (answer.status, answer.body) == (404, b'{"error":{"message":"no such model"}}')


def test_without_a_key_no_handshake_goes_up(daemon: Daemon, upstream: Upstream) -> None:
    play = echoing(upstream, [])
    wire, _ = knock(daemon, play, key="sk-wrong")
    check_error(wire.answer(method="GET"), 401)
    assert play.requests == []


def test_a_silent_upstream_is_let_go_when_the_client_leaves_the_handshake(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(HOLD)
    wire, _ = knock(daemon, play)
    seen = play.wait()
    wire.close()
    assert seen.gone()


def test_an_upgrade_elsewhere_is_an_ordinary_request(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    headers = [("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
    answer = daemon.get("/v1/files", headers=[*headers, ("X-Play", play.model)], key=KEY)
    assert answer.status == 200
    assert play.wait().header("upgrade") is None

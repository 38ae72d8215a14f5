"""`/v1/realtime`: a WebSocket passes through, is routed by `?model=`, and ends on both sides together."""

import json
from collections.abc import Iterator

import pytest

from tests.front.configurations import connection, front_conf, serving
from tests.harness import plays
from tests.harness.answers import check_error
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import HOLD, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream
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
    """Send a handshake; returns the wire and the nonce."""
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


def test_the_model_in_the_query_selects_the_connection(daemon: Daemon, upstream: Upstream) -> None:
    play = echoing(upstream, [])
    wire, _ = knock(daemon, play, "/v1/realtime?x=1&model=other%3Agpt-realtime&y=2")
    assert wire.read_head(method="GET").status == 101
    assert play.begun().target == "/v1/realtime?x=1&model=gpt-realtime&y=2"


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_disconnect_ends_the_upstream_socket(daemon: Daemon, upstream: Upstream, how: str) -> None:
    play = echoing(upstream, [])
    wire, _ = knock(daemon, play)
    wire.read_head(method="GET")
    wire.send(frame(TEXT, b"hello", masked=True))
    take(wire.read_exactly)
    wire.close() if how == "fin" else wire.abort()
    assert play.begun().gone()
    eventually(lambda: daemon.clients() == 0, "the client's side is closed")


def test_an_upstream_disconnect_ends_the_clients_socket(daemon: Daemon, upstream: Upstream) -> None:
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


def test_a_refused_handshake_is_passed_on(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b'{"error":{"message":"no such model"}}', "404 Not Found"))
    wire, _ = knock(daemon, play)
    answer = wire.answer(method="GET")
    assert (answer.status, answer.body) == (404, b'{"error":{"message":"no such model"}}')


def test_without_a_key_no_handshake_is_sent_upstream(daemon: Daemon, upstream: Upstream) -> None:
    play = echoing(upstream, [])
    wire, _ = knock(daemon, play, key="sk-wrong")
    check_error(wire.answer(method="GET"), 401)
    assert play.requests == []


def test_a_silent_upstream_is_closed_if_the_client_aborts_the_handshake(daemon: Daemon, upstream: Upstream) -> None:
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


def handshake(daemon: Daemon, target: str, *headers: tuple[str, str], key: str | None = None) -> Wire:
    return daemon.wire().request(
        "GET",
        target,
        headers=[
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", new_key()),
            ("Sec-WebSocket-Version", "13"),
            *headers,
        ],
        key=key,
    )


def test_a_key_among_the_subprotocols_is_not_forwarded(daemon: Daemon, upstream: Upstream) -> None:
    play = echoing(upstream, [])
    protocols = f"realtime, openai-insecure-api-key.{KEY}, openai-beta.realtime-v1"
    wire = handshake(
        daemon, "/v1/realtime?model=m", ("Sec-WebSocket-Protocol", protocols), ("X-Play", play.model),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    )  # fmt: skip
    assert wire.read_head(method="GET").status == 101
    seen = play.begun()
    assert seen.header("sec-websocket-protocol") == "realtime, openai-beta.realtime-v1"
    assert seen.header("sec-websocket-extensions") is None
    assert KEY not in repr(seen.headers)


def test_a_wrong_key_among_the_subprotocols_is_refused(daemon: Daemon, upstream: Upstream) -> None:
    wire = handshake(daemon, "/v1/realtime?model=m", ("Sec-WebSocket-Protocol", "openai-insecure-api-key.sk-wrong"))
    check_error(wire.answer(method="GET"), 401)


@pytest.mark.parametrize("target", ["/v1/responses", "/responses", "/v1/responses/", "/v1/responses?model=m"])
def test_a_socket_on_responses_is_refused_with_426(daemon: Daemon, upstream: Upstream, target: str) -> None:
    play = echoing(upstream, [])
    answer = handshake(daemon, target, ("X-Play", play.model), key=KEY).answer(method="GET")
    check_error(answer, 426)
    assert play.requests == []


@pytest.fixture(scope="module")
def guarded(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a group that may use one model, and an augmented model."""
    groups = {"family": {"api_keys": [KEY], "allowed_models": ["gpt-realtime*"]}}
    files = {"models/house.yaml": "name: gpt-realtime-house\nupstream_model: m\n"}
    with serving(
        tmp_path_factory.mktemp(f"guarded-{way}"), front_conf(upstream, groups=groups), way, files=files
    ) as it:
        yield it


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v1/realtime?model=other-model", 404),
        ("/v1/realtime?model=gpt-realtime-house", 400),
        ("/v1/realtime/?model=gpt-realtime-house", 400),
        ("//v1/realtime?model=gpt-realtime-house", 400),
        ("/v1/realtime?model=a&model=gpt-realtime", 400),
    ],
)
def test_a_socket_is_refused_like_a_request(guarded: Daemon, upstream: Upstream, target: str, status: int) -> None:
    play = echoing(upstream, [])
    check_error(handshake(guarded, target, ("X-Play", play.model), key=KEY).answer(method="GET"), status)
    assert play.requests == []


@pytest.mark.parametrize("model", ["gpt-realtime-house", "other-model", 7, None])
def test_a_session_cannot_change_to_a_model_that_would_be_refused(
    guarded: Daemon, upstream: Upstream, model: object
) -> None:
    got: list[tuple[int, bytes]] = []
    play = echoing(upstream, got)
    wire = handshake(guarded, "/v1/realtime?model=gpt-realtime", ("X-Play", play.model), key=KEY)
    assert wire.read_head(method="GET").status == 101
    wire.send(frame(TEXT, b'{"type": "session.update", "session": {"model": "gpt-realtime"}}', masked=True))
    take(wire.read_exactly)
    update = json.dumps({"type": "session.update", "session": {"model": model}}).encode()
    update = update.replace(b"session.update", b"session\\u002eupdate") if model == "other-model" else update
    whole = frame(TEXT, update, masked=True)
    for at in range(0, len(whole), 7):
        wire.send(whole[at : at + 7])
    kind, data = take(wire.read_exactly)
    assert (kind, data[:2]) == (CLOSE, (1008).to_bytes(2))
    wire.wait_closed()
    assert len(got) == 1


UPDATE = b'{"type":"session.update","session":{"model":"other-model"}'
SPELT: dict[str, list[bytes]] = {
    "in a binary message": [frame(BINARY, UPDATE + b"}", masked=True)],
    "in UTF-16": [frame(BINARY, (UPDATE + b"}").decode().encode("utf-16"), masked=True)],
    "behind a byte order mark": [frame(TEXT, b"\xef\xbb\xbf" + UPDATE + b"}", masked=True)],
    "beside NaN": [frame(TEXT, UPDATE + b',"x":NaN}', masked=True)],
    "behind many spaces, beside NaN": [frame(TEXT, b" " * 100 + UPDATE + b',"x":NaN}', masked=True)],
    "in UTF-16 behind many spaces": [
        frame(BINARY, (b" " * 100 + UPDATE + b"}").decode().encode("utf-16"), masked=True)
    ],
    "beside broken text": [frame(TEXT, UPDATE + b',"x":"\xff"}', masked=True)],
    "with something behind it": [frame(TEXT, UPDATE + b"}\n{}", masked=True)],
    "too deep": [frame(TEXT, UPDATE + b',"x":' + b"[" * 1500 + b"]" * 1500 + b"}", masked=True)],
    "beside a duplicate member": [frame(TEXT, UPDATE + b',"model":"a","model":"b"}', masked=True)],
    "in a duplicate session": [frame(TEXT, UPDATE + b',"session":{"model":"gpt-realtime"}}', masked=True)],
    "twice in a session": [frame(TEXT, UPDATE[:-1] + b',"model":"gpt-realtime"}}', masked=True)],
    "with two types": [frame(TEXT, UPDATE + b',"type":"x"}', masked=True)],
    "in capitals": [
        frame(TEXT, UPDATE.replace(b"session", b"Session").replace(b"model", b"MODEL") + b"}", masked=True)
    ],
    "in an event of another type": [frame(TEXT, UPDATE.replace(b"session.", b"transcription.") + b"}", masked=True)],
    "for the transcription of input": [
        frame(TEXT, b'{"session":{"audio":{"input":{"transcription":{"model":"other-model"}}}}}', masked=True)
    ],
    "for one response": [frame(TEXT, b'{"type":"response.create","response":{"model":"other-model"}}', masked=True)],
    "beside the session": [frame(TEXT, b'{"type":"session.update","model":"other-model"}', masked=True)],
    "in a text message inside a fragmented one": [
        b"\x01" + frame(TEXT, b"x", masked=True)[1:],
        frame(TEXT, UPDATE + b"}", masked=True),
    ],
    "in a continuation without a beginning": [frame(0, UPDATE + b"}", masked=True)],
}


@pytest.mark.parametrize("spelt", SPELT)
def test_no_spelling_changes_to_a_model_that_would_be_refused(guarded: Daemon, upstream: Upstream, spelt: str) -> None:
    got: list[tuple[int, bytes]] = []
    play = echoing(upstream, got)
    wire = handshake(guarded, "/v1/realtime?model=gpt-realtime", ("X-Play", play.model), key=KEY)
    assert wire.read_head(method="GET").status == 101
    wire.send(b"".join(SPELT[spelt]))
    kind, data = take(wire.read_exactly)
    assert kind == CLOSE
    assert data[:2] in {(1008).to_bytes(2), (1002).to_bytes(2)}
    wire.wait_closed()
    assert got == []


@pytest.mark.parametrize(
    "query",
    [
        "model=gpt-realtime;model=other", "model=gpt-realtime&mod%65l=other", "model=gpt-realtime&MODEL=other",
        "model=gpt-realtime&model[]=other", "model=gpt-realtime&fallback_model=other",
        "model=gpt-realtime&call_id=rtc_1",
        "model=gpt-realtime,other",
    ],
)  # fmt: skip
def test_no_query_member_joins_a_session_or_names_another_model(
    guarded: Daemon, upstream: Upstream, query: str
) -> None:
    play = echoing(upstream, [])
    answer = handshake(guarded, f"/v1/realtime?{query}", ("X-Play", play.model), key=KEY).answer(method="GET")
    check_error(answer, answer.status)
    assert answer.status in {400, 404}
    assert play.requests == []


def test_messages_that_name_allowed_models_pass_unchanged(guarded: Daemon, upstream: Upstream) -> None:
    got: list[tuple[int, bytes]] = []
    play = echoing(upstream, got)
    wire = handshake(guarded, "/v1/realtime?model=gpt-realtime", ("X-Play", play.model), key=KEY)
    wire.read_head(method="GET")
    transcription = {"input": {"transcription": {"model": "gpt-realtime-whisper"}}}
    tool = {"type": "function", "name": "f", "parameters": {"properties": {"model": {"type": "string"}}}}
    update = {"type": "session.update", "session": {"audio": transcription, "tools": [tool]}}
    large = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * 1_000_000}).encode()
    said = [
        (TEXT, json.dumps(update).encode()), (TEXT, large),
        (BINARY, bytes(range(256)) * 8), (BINARY, b"{\x00\xff\x12" * 50), (TEXT, b"hello"), (TEXT, large),
        (BINARY, b"{\x00\xff\x12" * 200_000), *[(TEXT, b'{"type":"x"}')] * 3000, (TEXT, large),
    ]  # fmt: skip
    wire.send(b"".join(frame(kind, data, masked=True) for kind, data in said))
    assert [take(wire.read_exactly) for _ in said] == said
    assert got == said


SAID = [
    (TEXT, b'{"type":"x","text":"my key is %s"}'), (BINARY, b'{"type":"x","text":"my key is %s"}'),
    (TEXT, b'{"text":"%s","text":"x"}'), (TEXT, b"my key is %s"), (TEXT, b'["%s"]'), (TEXT, b'{"text":"\\ud800%s"}'),
    (TEXT, b'{"type":"x","audio":"' + b"A" * 600_000 + b'","text":"%s"}'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "said"), SAID)
def test_a_secret_in_a_message_is_removed(daemon: Daemon, upstream: Upstream, kind: int, said: bytes) -> None:
    got: list[tuple[int, bytes]] = []
    play = echoing(upstream, got)
    wire = handshake(daemon, "/v1/realtime?model=m", ("X-Play", play.model), key=KEY)
    wire.read_head(method="GET")
    wire.send(frame(kind, said % CANARY.encode(), masked=True))
    assert take(wire.read_exactly) == (kind, said % b"[REDACTED]")
    assert got == [(kind, said % b"[REDACTED]")]


AMBIGUOUS = [
    b'{"text":"%s","x":NaN}', b'\xef\xbb\xbf{"text":"%s"}', b'{"text":"%s","x":[' + b"1," * 400_000 + b"NaN]}",
    b'{"x":"' + b"A" * 600_000 + b'\n%s"}',
]  # fmt: skip


@pytest.mark.parametrize("said", AMBIGUOUS, ids=["NaN", "byte order mark", "NaN in a large one", "raw line end"])
def test_a_secret_in_ambiguous_json_closes_the_socket(daemon: Daemon, upstream: Upstream, said: bytes) -> None:
    got: list[tuple[int, bytes]] = []
    play = echoing(upstream, got)
    wire = handshake(daemon, "/v1/realtime?model=m", ("X-Play", play.model), key=KEY)
    wire.read_head(method="GET")
    wire.send(frame(TEXT, said % CANARY.encode(), masked=True))
    assert take(wire.read_exactly)[0] == CLOSE
    wire.wait_closed()
    assert got == []

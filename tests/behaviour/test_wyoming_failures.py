"""The port for voice satellites when something fails or is refused: an error in words, and a complete end."""

import asyncio
from typing import Any

import pytest
from wyoming.error import Error
from wyoming.tts import SynthesizeChunk, SynthesizeStart

from openai_proxy.config.load import load
from openai_proxy.config.problems import ConfigError
from openai_proxy.wyoming.wav import wav_file
from tests.behaviour.voices import FORM, UTTERANCE, conf_of, samples_of, wyoming_of
from tests.harness.daemon import free_port
from tests.harness.plays import FIN, HOLD, chunk, head, plain
from tests.harness.upstream import Upstream
from tests.wyoming.satellite import satellite


async def test_a_disconnect_ends_the_clients_requests(upstream: Upstream, make_daemon: Any) -> None:
    begins = head(fields={"Content-Type": "audio/wav", "Transfer-Encoding": "chunked"})
    silent, port = upstream.play(begins, HOLD), free_port()
    daemon = make_daemon(conf_of(upstream, port, silent.model))
    async with satellite(port) as one:
        await one.send(SynthesizeStart().event(), SynthesizeChunk(text="Hello. You").event())
        seen = await asyncio.to_thread(silent.wait)
    assert await asyncio.to_thread(seen.gone)
    daemon.assert_nothing_leaked()


async def test_an_admin_can_cancel_speech(upstream: Upstream, make_daemon: Any) -> None:
    silent, port = upstream.play(HOLD), free_port()
    daemon = make_daemon(conf_of(upstream, port, silent.model))
    async with satellite(port) as one:
        saying = asyncio.ensure_future(one.say("Hello."))
        await asyncio.to_thread(silent.wait)
        (running,) = daemon.control("GET", "/admin/status").json()["requests"]
        assert (running["model"], running["path"]) == ("mouth", "/audio/speech")
        assert daemon.control("POST", f"/admin/requests/{running['id']}/cancel").status == 200
        assert (await saying).error == "The request was cancelled."


FAILURES: dict[str, tuple[Any, str]] = {
    "an error": ((plain(b'{"error":{"message":"no such voice"}}', "400 Bad Request"),), "answered with status 400"),
    "a refused key": ((plain(b'{"error":{"message":"no access"}}', "403 Forbidden"),), "refused its API key"),
    "a page": (
        (plain(b"<html><title>Bad gateway</title>", "502 Bad Gateway", "text/html"),),
        "answered with status 502",
    ),
    "another format": ((plain(b"ID3" + bytes(500), content_type="audio/mpeg"),), "a format that cannot be used"),
    "nothing": ((plain(b"", content_type="audio/wav"),), "no audio"),
    "a break": (
        (
            head(fields={"Content-Type": "audio/wav", "Transfer-Encoding": "chunked"}),
            chunk(wav_file(samples_of("Half"), FORM)),
            FIN,
        ),
        "",
    ),
}


@pytest.mark.parametrize("kind", FAILURES)
async def test_a_failing_speech_model_gives_an_error_and_an_end(
    upstream: Upstream, make_daemon: Any, kind: str
) -> None:
    steps, words = FAILURES[kind]
    port = free_port()
    daemon = make_daemon(conf_of(upstream, port, upstream.play(*steps).model))
    for streamed in (False, True):
        async with satellite(port) as one:
            heard = await (one.say_in_pieces("Hello there. ", "You.") if streamed else one.say("Hello there."))
        assert heard.lost, "Home Assistant waits for the end of the audio otherwise"
        assert not heard.stopped
        assert heard.error is not None
        assert words in heard.error
        assert "127.0.0.1" not in heard.error
    daemon.assert_quiet()


async def test_a_failing_transcription_model_gives_an_error(upstream: Upstream, make_daemon: Any) -> None:
    port = free_port()
    conf = conf_of(upstream, port, "x")
    play = upstream.play(plain(b'{"error":{"message":"bad audio"}}', "422 Unprocessable"))
    conf["connections"]["main"]["headers"] = {"X-Play": play.model}
    make_daemon(conf)
    async with satellite(port) as one:
        answer = await one.speak(UTTERANCE)
        assert isinstance(answer, Error)
        assert answer.text == "The connection 'main' answered with status 422."
        assert await one.next() is None


async def test_the_limits_of_its_group_apply(upstream: Upstream, make_daemon: Any) -> None:
    port = free_port()
    make_daemon(conf_of(upstream, port, "x", group="home"))
    async with satellite(port) as one:
        assert [await one.speak(UTTERANCE) for _ in range(3)] == ["good morning"] * 3
        refused = await one.speak(UTTERANCE)
        assert isinstance(refused, Error)
        assert refused.code == "rate_limit_exceeded"


def test_a_port_in_use_is_a_problem_but_the_daemon_serves(upstream: Upstream, make_daemon: Any) -> None:
    daemon = make_daemon(conf_of(upstream, upstream.port, "x"))
    problems = daemon.control("GET", "/admin/status").json()["config"]["problems"]
    assert [problem["message"] for problem in problems] == [
        f"wyoming: cannot listen on 127.0.0.1 port {upstream.port}: the port is in use"
    ]
    assert daemon.chat("m").status == 200
    assert daemon.control("POST", "/admin/reload").status == 422, "tried again, and still in use"
    port = free_port()
    daemon.edit_conf(lambda conf: conf["wyoming"].update(port=port))
    assert daemon.control("GET", "/admin/status").json()["config"]["problems"] == []
    assert wyoming_of(daemon)["port"] == port


@pytest.mark.parametrize(
    ("wyoming", "place", "words"),
    [
        ("{port: 10300}", ":6:10", "set a speech-to-text model (stt)"),
        ("{stt: a, prt: 10}", ":6:19", 'unknown key "prt" in wyoming (did you mean "port"?)'),
        ("{stt: a, group: famly}", ":6:26", 'there is no group "famly" (did you mean "family"?)'),
        ("{stt: a, voices: []}", ":6:27", "expected one name or more"),
    ],
)
def test_mistakes_are_reported_with_their_place(wyoming: str, place: str, words: str, tmp_path: Any) -> None:
    (tmp_path / "conf").mkdir()
    text = f"connections:\n  a: {{api_type: echo}}\ngroups:\n  family:\n    api_keys: [sk-1]\nwyoming: {wyoming}\n"
    (tmp_path / "conf" / "proxy.yaml").write_text(text)
    try:
        found = [str(problem) for problem in load(tmp_path / "conf", None, {}, {}).problems]
    except ConfigError as error:
        found = [str(problem) for problem in error.problems]
    assert len(found) == 1, found
    assert place in found[0], found
    assert words in found[0], found

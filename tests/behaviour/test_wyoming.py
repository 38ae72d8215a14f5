"""The port for voice satellites: the `wyoming` package's client against the daemon, with scripted models."""

import asyncio
import io
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.ping import Ping, Pong
from wyoming.tts import SynthesizeChunk, SynthesizeStart, SynthesizeStop

from openai_proxy.wyoming.wav import wav_file
from tests.behaviour.voices import FORM, UTTERANCE, conf_of, samples_of, spoken, wyoming_of
from tests.harness.daemon import CANARY, Daemon, free_port
from tests.harness.plays import plain
from tests.harness.scripts import Acting, Seen
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually
from tests.wyoming.satellite import Heard, satellite


class Voice:
    """A daemon with a port for satellites, the speech model, and the requests to it."""

    def __init__(self, daemon: Daemon, port: int, speaking: Acting) -> None:
        self.daemon, self.port, self.speaking = daemon, port, speaking

    def satellite(self) -> Any:
        return satellite(self.port)


@pytest.fixture(scope="module")
def voice(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Voice]:
    port, speaking = free_port(), upstream.acting(spoken, "tts")
    daemon = Daemon(tmp_path_factory.mktemp("voice"), conf_of(upstream, port, speaking.model, voices="nova, echo"))
    daemon.start()
    try:
        yield Voice(daemon, port, speaking)
        eventually(lambda: wyoming_of(daemon)["clients"] == 0, "no connection is left")
        daemon.assert_nothing_leaked()
        daemon.stop()
    finally:
        daemon.kill()


def parts_of(seen: Seen) -> dict[str, bytes]:
    """The fields of a multipart request."""
    boundary = (seen.header("content-type") or "").partition("boundary=")[2].encode()
    found = {}
    for part in seen.body.split(b"--" + boundary)[1:-1]:
        fields, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found[fields.split(b'name="')[1].split(b'"')[0].decode()] = value.removesuffix(b"\r\n")
    return found


async def test_it_describes_what_it_offers(voice: Voice) -> None:
    async with voice.satellite() as one:
        info = await one.info()
    assert [model.name for model in info.asr[0].models] == ["ears"]
    assert [entry.name for entry in info.tts[0].voices] == ["nova", "echo"]
    assert info.tts[0].supports_synthesize_streaming
    assert {"en", "de", "zh"} <= set(info.tts[0].voices[0].languages)
    assert info.asr[0].installed
    assert info.tts[0].installed


async def test_an_utterance_is_transcribed_by_the_first_model_that_answers(voice: Voice, upstream: Upstream) -> None:
    async with voice.satellite() as one:
        assert await one.speak(UTTERANCE, "de-DE", transcript_names=["Wohnzimmer", "Küche"]) == "good morning"
        assert await one.speak(UTTERANCE) == "good morning", "the same connection serves another"
    first, second = (parts_of(seen) for seen in upstream.unclaimed[-2:])
    assert {name: value for name, value in first.items() if name != "file"} == {
        "model": b"whisper", "response_format": b"json", "language": b"de", "prompt": "Wohnzimmer, Küche".encode()
    }  # fmt: skip
    assert "language" not in second
    with wave.open(io.BytesIO(first["file"])) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16_000, 2, 1)
        assert file.readframes(file.getnframes()) == UTTERANCE
    assert CANARY in (upstream.unclaimed[-1].header("authorization") or "")


async def test_a_text_is_spoken_in_the_requested_voice(voice: Voice) -> None:
    async with voice.satellite() as one:
        heard = await one.say("The light is on.", "echo")
        default = await one.say("It is off.")
    assert heard == Heard(samples_of("The light is on."), {(24_000, 2, 1)}, starts=1, stops=1)
    assert default.audio == samples_of("It is off.")
    assert [body["voice"] for body in voice.speaking.bodies()[-2:]] == ["echo", "nova"]


async def test_no_secret_is_sent_to_the_speech_models(voice: Voice, upstream: Upstream) -> None:
    async with voice.satellite() as one:
        heard = await one.say(f"The key is {CANARY} today.", CANARY)
        assert await one.speak(UTTERANCE, transcript_names=["Küche", CANARY]) == "good morning"
    assert heard.audio == samples_of("The key is [REDACTED] today.")
    assert voice.speaking.bodies()[-1]["voice"] == "[REDACTED]"
    assert parts_of(upstream.unclaimed[-1])["prompt"] == "Küche, [REDACTED]".encode()


async def test_half_a_character_is_spoken_as_a_question_mark(voice: Voice) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", voice.port)
    writer.write(b'{"type":"synthesize","data":{"text":"\\ud83d hi"}}\n')
    async with asyncio.timeout(PATIENCE):
        assert b'"audio-start"' in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert voice.speaking.bodies()[-1]["input"] == "? hi"


async def test_streamed_text_is_spoken_sentence_by_sentence(voice: Voice) -> None:
    before = len(voice.speaking.bodies())
    async with voice.satellite() as one:
        await one.send(SynthesizeStart().event(), SynthesizeChunk(text="The light is ").event())
        await one.send(SynthesizeChunk(text="on. And the door").event())
        start, first = await one.next(), await one.next()
        assert start is not None
        assert AudioStart.is_type(start.type)
        assert first is not None
        assert AudioChunk.from_event(first).audio == samples_of("The light is on."), "spoken before the text is whole"
        await one.send(SynthesizeChunk(text=" is shut.").event(), SynthesizeStop().event())
        rest = await one.listen(streamed=True)
    assert rest == Heard(samples_of("And the door is shut."), {(24_000, 2, 1)}, stops=1, stopped=True)
    assert len(voice.speaking.bodies()) == before + 2


async def test_the_whole_text_at_the_end_of_a_stream_is_not_spoken_again(voice: Voice) -> None:
    async with voice.satellite() as one:
        heard = await one.say_in_pieces("One. ", "Two. ", "Three.")
    assert heard.audio.decode("utf-16-le").replace(" ", "") == "One.Two.Three."
    assert (heard.starts, heard.stops, heard.stopped) == (1, 1, True)


@pytest.mark.parametrize("text", ["", "   ", "…", "🙂"])
async def test_a_text_without_words_is_a_complete_silence(voice: Voice, text: str) -> None:
    asked = len(voice.speaking.bodies())
    async with voice.satellite() as one:
        assert await one.say(text) == Heard(starts=1, stops=1)
        assert (await one.say_in_pieces(text)).stopped
    assert len(voice.speaking.bodies()) == asked


async def test_no_audio_gives_an_empty_transcript(voice: Voice) -> None:
    async with voice.satellite() as one:
        assert await one.speak(b"") == ""


async def test_requests_are_recorded_and_routed_like_others(voice: Voice) -> None:
    async with voice.satellite() as one:
        await one.say("Seen.")
        assert wyoming_of(voice.daemon) == {"port": voice.port, "stt": "ears", "tts": "mouth", "clients": 1}
    assert "Wyoming" in voice.daemon.stderr
    assert f"port {voice.port}: transcription by ears, speech by mouth" in voice.daemon.stderr
    eventually(
        lambda: "mouth -> main" in voice.daemon.stderr or "mouth → main" in voice.daemon.stderr,
        "the log line of the speech request",
    )


async def test_a_recording_that_is_too_long_is_refused_in_words(voice: Voice) -> None:
    async with voice.satellite() as one:
        with suppress(OSError):
            await one.send(AudioStart(rate=16_000, width=2, channels=1).event())
            for _ in range(40):
                await one.send(AudioChunk(rate=16_000, width=2, channels=1, audio=bytes(50_000)).event())
        event = await one.next()
    assert event is not None
    assert Error.from_event(event).text == "The recording is too long."


RUBBISH = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00" + bytes(600) + b"\n",
    b"[]\n",
    b"null\n",
    b"{}\n",
    b'{"type": "describe", "data_length": "x"}\n',
    b'{"type": "describe", "data_length": 99999999999}\n',
    b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
    b'{"type": "describe", "data_length": 4}\nabcd',
    b'{"type": "synthesize"}\n',
    b'{"type": "synthesize", "data": {"text": 5}}\n',
    b'{"type": "synthesize", "data": {"text": "a", "voice": 5}}\n',
    b'{"type": "synthesize-start", "data": []}\n',
    b'{"type": "audio-start"}\n',
    b'{"type": "audio-start", "data": {"rate": 0, "width": 2, "channels": 1}}\n',
    b'{"type": "audio-start", "data": {"rate": "x", "width": [], "channels": null}}\n',
    b'{"type": "transcribe", "data": 5}\n',
    b"[" * 200_000,
    b'{"a":' * 5000 + b"\n",
]


@pytest.mark.parametrize("data", RUBBISH, ids=range(len(RUBBISH)))
async def test_an_invalid_event_ends_only_its_connection(voice: Voice, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", voice.port)
    try:
        async with asyncio.timeout(30):
            with suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
                answer = await reader.read()
                assert b'"error"' in answer or not answer
    finally:
        writer.close()
    async with voice.satellite() as one:
        assert await one.speak(UTTERANCE) == "good morning"
    voice.daemon.assert_quiet()


@pytest.mark.parametrize(
    "data",
    [b'{"type": "unheard-of"}\n', b'{"type": 7}\n', b'{"type": "audio-stop"}\n', b'{"type": "synthesize-stop"}\n'],
)
async def test_an_event_without_meaning_here_is_ignored(voice: Voice, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", voice.port)
    writer.write(data + b'{"type": "ping"}\n')
    async with asyncio.timeout(30):
        assert b'"pong"' in await reader.readline()
    writer.close()


async def test_a_ping_is_answered(voice: Voice) -> None:
    async with voice.satellite() as one:
        await one.send(Ping(text="there?").event())
        event = await one.next()
        assert event is not None
        assert Pong.from_event(event).text == "there?"


async def test_the_port_follows_the_configuration(upstream: Upstream, make_daemon: Any) -> None:
    first, second = free_port(), free_port()
    speaking = upstream.acting(spoken, "tts")
    daemon = make_daemon(conf_of(upstream, first, speaking.model))
    async with satellite(first) as early:
        assert await early.speak(UTTERANCE) == "good morning"
        await early.send(AudioStart(rate=16_000, width=2, channels=1).event())  # in the middle of something

        def moved(conf: dict[str, Any]) -> None:
            conf["wyoming"] = {"port": second, "tts": "mouth"}

        await asyncio.to_thread(daemon.edit_conf, moved)
        async with satellite(second) as late:
            assert (await late.say("Moved.")).audio == samples_of("Moved.")
            info = await late.info()
            assert (info.asr, len(info.tts)) == ([], 1)
            refused = await late.speak(UTTERANCE)
            assert isinstance(refused, Error)
        await early.send(AudioChunk(rate=16_000, width=2, channels=1, audio=UTTERANCE).event(), AudioStop().event())
        event = await early.next()
        assert event is not None
        assert event.type == "transcript", "an utterance begun before the edit is still transcribed"
        await asyncio.to_thread(daemon.edit_conf, lambda conf: conf.pop("wyoming"))
        assert daemon.control("GET", "/admin/status").json()["wyoming"] is None
    for port in (first, second):
        with pytest.raises(OSError, match=r"refused|Connect"):
            await asyncio.open_connection("127.0.0.1", port)


def test_without_the_setting_nothing_of_it_is_imported() -> None:
    probe = "import sys, openai_proxy.daemon; print(sorted(m for m in sys.modules if m.split('.')[0] == 'wyoming'))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


async def test_stopping_ends_idle_clients_and_lets_busy_ones_finish(upstream: Upstream, make_daemon: Any) -> None:
    port, gate = free_port(), upstream.gate()
    body = wav_file(samples_of("Bye."), FORM)
    slow = upstream.play(gate, plain(body, content_type="audio/wav"))
    daemon = make_daemon(conf_of(upstream, port, slow.model))
    async with satellite(port) as idle, satellite(port) as busy:
        await idle.info()
        saying = asyncio.ensure_future(busy.say("Bye."))
        await asyncio.to_thread(slow.wait)
        daemon.signal(15)
        assert await idle.next() is None
        gate.open()
        assert (await saying).audio == samples_of("Bye.")
    assert await asyncio.to_thread(daemon.exit_code) == 0

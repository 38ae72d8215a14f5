"""The whole voice pipeline: an utterance, its text, the model's answer as it streams, and what is heard of it.

The satellite behaves like Home Assistant's pipeline: it passes the answer on to the speech model while it streams, and
speaks an error's own message. Whatever fails, something is heard, and it sounds like something a person would say.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from wyoming.tts import SynthesizeChunk, SynthesizeStart, SynthesizeStop

from openai_proxy.wyoming.wav import SampleFormat, wav_file
from tests.agent.support import asks, says
from tests.harness.daemon import CANARY, Daemon, free_port
from tests.harness.plays import FIN, HOLD, LAST, RST, SSE_HEAD, Step, chunk, delta, event, plain, stream
from tests.harness.scripts import Acting, Seen
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, turning_until
from tests.wyoming.satellite import satellite

QUESTION = "Wie warm ist es im Wohnzimmer?"
UTTERANCE = bytes(range(256)) * 50
ODD = re.compile(
    r"[*_`#|<>{}\[\]\\]|https?:|://|\d+\.\d+\.\d+\.\d+|localhost|Traceback|Exception|Errno|None\b|null|undefined|sk-"
    "|[\U0001f000-\U0001faff\u2600-\u27bf]"
)
MODEL = "upstream_model: main:m\nspeech: true\ndeadline: {deadline}\ntools: [never, calculator]\n"
NEVER = """
import asyncio
from openai_proxy import tool


@tool
async def never() -> str:
    'Hangs.'
    await asyncio.Event().wait()
    return ''
"""
FORM = SampleFormat(24_000, 2, 1)


def sound_of(seen: Seen) -> bytes:
    """A voice whose audio is the text itself."""
    return plain(wav_file(seen.json()["input"].encode("utf-16-le"), FORM), content_type="audio/wav")


class Chain:
    """A daemon with speech models and chat models, and a satellite."""

    def __init__(self, daemon: Daemon, port: int, mouth: Acting) -> None:
        self.daemon, self.port, self.mouth = daemon, port, mouth

    async def hears(self, play: str, model: str = "augmented/voice") -> str:
        """What a person hears after asking QUESTION."""
        async with satellite(self.port) as ears:
            asked = await ears.speak(UTTERANCE, "de")
        assert asked == QUESTION
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": asked}]}
        async with satellite(self.port) as mouth:
            await mouth.send(SynthesizeStart().event())
            listening = asyncio.ensure_future(mouth.listen(streamed=True))
            async for piece in _answer(self.daemon, play, body):
                await mouth.send(SynthesizeChunk(text=piece).event())
            await mouth.send(SynthesizeStop().event())
            heard = await listening
        assert heard.stopped, "the audio has no end, so the satellite would wait for it"
        assert (heard.starts, heard.stops) == (1, 1)
        return " ".join(heard.audio.decode("utf-16-le").split())


async def _answer(daemon: Daemon, play: str, body: dict[str, Any]) -> Any:
    """The text of a streamed answer as it arrives, and the message of an error instead of it or after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-Play: {play}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    try:
        async with asyncio.timeout(PATIENCE):
            status = int((await reader.readline()).split()[1])
            fields = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if status != 200:
                assert "x-should-retry: false" in fields or status == 429, (
                    "Home Assistant would retry, and nothing would be heard"
                )
                yield json.loads(await reader.read())["error"]["message"]
                return
            while line := await reader.readline():
                if not line.startswith(b"data: {"):
                    continue
                told = json.loads(line[6:])
                if "error" in told:
                    yield f" {told['error']['message']}"
                    return
                for choice in told["choices"]:
                    if content := choice["delta"].get("content"):
                        yield content
    finally:
        writer.close()


@pytest.fixture(scope="module")
def chain(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    port, mouth = free_port(), upstream.acting(sound_of, "mouth")
    ears = upstream.play(plain(json.dumps({"text": QUESTION}).encode()))
    conf = {
        "connections": {
            "main": {"api_base": upstream.url, "api_key": CANARY, "max_retries": 0},
            "ears": {"api_base": upstream.url, "headers": {"X-Play": ears.model}},
            "dead": {"api_base": f"http://127.0.0.1:{free_port()}/v1", "max_retries": 0},
            "nowhere": {"api_base": "http://no-such-name.invalid/v1", "max_retries": 0},
        },
        "default_connection": "main",
        "wyoming": {"port": port, "stt": "ears:whisper", "tts": f"main:{mouth.model}"},
    }
    files = {
        "tools/never.py": NEVER,
        "models/voice.yaml": "name: augmented/voice\n" + MODEL.format(deadline=30),
        "models/brief.yaml": "name: augmented/brief\n" + MODEL.format(deadline=0.6),
        "models/dead.yaml": "name: augmented/dead\nupstream_model: dead:m\nspeech: true\n",
        "models/nowhere.yaml": "name: augmented/nowhere\nupstream_model: nowhere:m\nspeech: true\n",
    }
    daemon = Daemon(tmp_path_factory.mktemp("chain"), conf, files=files).start()
    try:
        yield Chain(daemon, port, mouth)
        daemon.assert_nothing_leaked()
        daemon.stop()
    finally:
        daemon.kill()


PAGE = b"<!doctype html><html><head><title>502 Bad Gateway</title></head><body><h1>nginx/1.2</h1></body></html>"
TOO_LONG = "Das hat leider zu lange gedauert."
NOTHING = "Darauf habe ich keine Antwort."

Steps = tuple[Step, ...] | list[Step]
"""What is played for each request, or (a list) one after another."""

FAILURES: dict[str, tuple[str, Steps, str]] = {
    "it is not there": ("augmented/dead", (), r"The connection 'dead' cannot be reached\."),
    "its name is unknown": ("augmented/nowhere", (), r"The connection 'nowhere' cannot be reached\."),
    "it answers with a page": ("augmented/voice", (plain(PAGE, "502 Bad Gateway", "text/html"),), r".*502.*\."),
    "it answers 200 with a page": ("augmented/voice", (plain(PAGE, content_type="text/html"),), r".+\."),
    "it refuses our key": ("augmented/voice", (plain(b'{"error":{"message":"Invalid key"}}', "401 No"),), r".*key\."),
    "it has too much to do": (
        "augmented/voice",
        (plain(b'{"error":{"message":"Rate limit reached"}}', "429 Too Many", Retry_After="60"),),
        r"Rate limit reached",
    ),
    "it never answers": ("augmented/brief", (HOLD,), re.escape(TOO_LONG)),
    "it stalls after a word": ("augmented/brief", (SSE_HEAD, chunk(delta("Es sind ")), HOLD), r"Es sind .*too long\."),
    "it breaks off in mid-sentence": ("augmented/voice", (SSE_HEAD, chunk(delta("Es sind ")), RST), r"Es sind .+\."),
    "its stream ends without [DONE]": (
        "augmented/voice",
        (SSE_HEAD, chunk(delta("Es sind ")), chunk(b""), FIN),
        r"Es sind .+\.",
    ),
    "it says nothing": ("augmented/voice", (stream(says("")),), re.escape(NOTHING)),
    "it only thinks": ("augmented/voice", (stream(says("<think>Hm, what now?</think>")),), re.escape(NOTHING)),
    "it only draws": ("augmented/voice", (stream(says("😀 🎉")),), re.escape(NOTHING)),
    "it fails with an event": (
        "augmented/voice",
        (SSE_HEAD, chunk(delta("Es sind ")), chunk(event({"error": {"message": "The model crashed"}})), FIN),
        r"Es sind The model crashed.*",
    ),
    "it talks rubbish": ("augmented/voice", (SSE_HEAD, chunk(b"data: {rubbish\n\n"), FIN), r".+\."),
    "its tool hangs": ("augmented/brief", (stream(asks(("c1", "never", "{}"))),), re.escape(TOO_LONG)),
    "it calls a tool and says nothing": (
        "augmented/voice",
        [stream(asks(("c1", "calculator", '{"expression":"1+1"}'))), stream(says(""))],
        re.escape("Erledigt."),
    ),
    "it answers with markup": (
        "augmented/voice",
        (stream(says("**Es sind** [21 Grad](https://a.example/x) 🌡️.\n\n| Raum | Grad |\n|---|---|\n| Bad | 23 |")),),
        r"Es sind 21 Grad\. ?Raum, Grad\. ?Bad, 23\.",
    ),
}


@pytest.mark.parametrize("kind", FAILURES)
async def test_what_is_heard_in_each_case(chain: Chain, upstream: Upstream, kind: str) -> None:
    model, steps, words = FAILURES[kind]
    play = upstream.rounds(*steps) if isinstance(steps, list) else upstream.play(*steps)
    heard = await chain.hears(play.model, model)
    assert heard, "nothing was heard"
    assert not ODD.search(heard), heard
    assert re.fullmatch(words, heard), heard
    assert len(heard) < 200, heard


async def test_an_answer_is_heard_unchanged_and_before_it_is_complete(chain: Chain, upstream: Upstream) -> None:
    gate = upstream.gate()
    first, second = delta("Im Wohnzimmer sind es 21 Grad. "), delta("Soll ich heizen?")
    end = chunk(delta("", finish="stop")) + chunk(event(b"[DONE]")) + LAST
    play = upstream.play(SSE_HEAD, chunk(first), chunk(delta("Es")), gate, chunk(second), end)
    asking = asyncio.ensure_future(chain.hears(play.model))
    sentence = "Im Wohnzimmer sind es 21 Grad."
    try:
        await turning_until(
            lambda: sentence in [body["input"] for body in chain.mouth.bodies()], "the first sentence is spoken"
        )
        assert not asking.done(), "the answer ended before the model had finished"
    finally:
        gate.open()
    assert await asking == "Im Wohnzimmer sind es 21 Grad.EsSoll ich heizen?"

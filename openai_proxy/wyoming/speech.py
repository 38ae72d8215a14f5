"""Text to speech: sends sentences to the model, and passes its samples on as they arrive."""

from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from wyoming.audio import AudioChunk, AudioChunkConverter, AudioStart, AudioStop
from wyoming.event import Event

from openai_proxy.decision.internal import InternalAnswer, answer_of, sendable
from openai_proxy.endpoints import at
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import Caller, Headers, header
from openai_proxy.runtime.state import ProxyState
from openai_proxy.wyoming.sentences import LONGEST
from openai_proxy.wyoming.wav import NotWavError, SampleFormat, WavReader

_ENDPOINT: Final = at("/audio/speech")
_CHUNK: Final = 4096  # approximate bytes of samples per event: 85 ms of 24 kHz
_SILENCE: Final = SampleFormat(16_000, 2, 1)  # the format of an empty answer


class Speech:
    """The audio of one answer: one start, chunks of one format, one stop, however many requests it takes."""

    def __init__(
        self, state: ProxyState, caller: Caller, model: str, voice: str, write: Callable[[Event], Awaitable[None]]
    ) -> None:
        self._state = state
        self._caller = caller
        self._model = model
        self._voice = voice
        self._write = write
        self._converter: AudioChunkConverter | None = None
        self._spoken = 0  # texts spoken so far

    def share(self, sentences: list[str]) -> list[str]:
        """The next text to speak, removed from `sentences`: the first alone, to start early; then as much as fits."""
        taken: list[str] = []
        size = 0
        while sentences and (not taken or (self._spoken and size + len(sentences[0]) < LONGEST)):
            size += len(sentences[0]) + 1
            taken.append(sentences.pop(0))
        return taken

    async def say(self, text: str) -> None:
        """Speak `text`. Raises ProxyError, or OSError if the client accepts nothing."""
        self._spoken += 1
        words, voice = sendable(self._state, text), sendable(self._state, self._voice)

        def make(model: str) -> tuple[Headers, bytes]:
            document = {"model": model, "input": words, "voice": voice, "response_format": "wav"}
            headers = [(b"Content-Type", b"application/json"), (b"Accept", b"audio/wav, */*;q=0.5")]
            return headers, orjson.dumps(document)

        async with answer_of(self._state, self._caller, _ENDPOINT, self._model, make) as answer:
            await self._relay(answer)

    async def _relay(self, answer: InternalAnswer) -> None:
        reader = WavReader()
        has_sound = False
        try:
            while piece := await answer.chunk():
                samples = reader.feed(piece)
                if samples and reader.format is not None:
                    has_sound = True
                    await self._send(samples, reader.format)
        except NotWavError as error:
            kind = (header(answer.headers, b"content-type") or b"no type").decode("latin-1")
            raise UpstreamInvalid(
                "The speech model answered in a format that cannot be used.", cause=f"{error} ({kind[:80]})"
            ) from None
        if not has_sound:
            raise UpstreamInvalid("The speech model returned no audio.")

    async def _send(self, samples: bytes, form: SampleFormat) -> None:
        if self._converter is None:
            await self._start(form)
        assert self._converter is not None
        size = max(_CHUNK - _CHUNK % form.frame, form.frame)
        for begin in range(0, len(samples), size):
            audio = samples[begin : begin + size]
            chunk = AudioChunk(rate=form.rate, width=form.width, channels=form.channels, audio=audio)
            await self._write(self._converter.convert(chunk).event())

    async def _start(self, form: SampleFormat) -> None:
        """Convert later formats to the first one, which clients assume for the whole."""
        self._converter = AudioChunkConverter(rate=form.rate, width=form.width, channels=form.channels)
        await self._write(AudioStart(rate=form.rate, width=form.width, channels=form.channels).event())

    async def end(self) -> None:
        """End the audio."""
        if self._converter is None:
            await self._start(_SILENCE)
        await self._write(AudioStop().event())

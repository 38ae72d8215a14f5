"""A satellite's side of the protocol, using the package's own client, with every wait bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped, SynthesizeVoice

from tests.harness.waiting import PATIENCE

RATE, WIDTH, CHANNELS = 16_000, 2, 1


@dataclass
class Heard:
    """The audio for a person and the events for the satellite."""

    audio: bytes = b""
    formats: set[tuple[int, int, int]] = field(default_factory=set)
    starts: int = 0
    stops: int = 0
    stopped: bool = False
    error: str | None = None
    lost: bool = False  # the connection ended


class Satellite:
    """One connection."""

    def __init__(self, client: AsyncTcpClient) -> None:
        self._client = client

    async def send(self, *events: Event) -> None:
        """Write events."""
        for event in events:
            await self._client.write_event(event)

    async def next(self) -> Event | None:
        """The next event; None at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._client.read_event()

    async def info(self) -> Info:
        """The services on offer."""
        await self.send(Describe().event())
        event = await self.next()
        assert event is not None
        assert Info.is_type(event.type)
        return Info.from_event(event)

    async def speak(self, audio: bytes, language: str | None = None, **more: list[str]) -> str | Error:
        """Send speech as Home Assistant does, 16 kHz in small chunks; the transcript or the error."""
        await self.send(
            Transcribe(language=language, **more).event(),  # type: ignore[arg-type]
            AudioStart(rate=RATE, width=WIDTH, channels=CHANNELS).event(),
        )
        for begin in range(0, len(audio), 2048):
            piece = audio[begin : begin + 2048]
            await self.send(AudioChunk(rate=RATE, width=WIDTH, channels=CHANNELS, audio=piece).event())
        await self.send(AudioStop().event())
        event = await self.next()
        assert event is not None, "the connection ended without a transcript or an error"
        if Error.is_type(event.type):
            return Error.from_event(event)
        assert Transcript.is_type(event.type), event
        return Transcript.from_event(event).text

    async def say(self, text: str, voice: str | None = None) -> Heard:
        """Have a text spoken whole."""
        named = SynthesizeVoice(name=voice) if voice is not None else None
        await self.send(Synthesize(text=text, voice=named).event())
        return await self.listen(streamed=False)

    async def say_in_pieces(self, *pieces: str) -> Heard:
        """Have a text spoken while it is written, as Home Assistant does: with the whole text again at the end."""
        await self.send(SynthesizeStart().event(), *(SynthesizeChunk(text=piece).event() for piece in pieces))
        await self.send(Synthesize(text="".join(pieces)).event(), SynthesizeStop().event())
        return await self.listen(streamed=True)

    async def listen(self, *, streamed: bool) -> Heard:
        """Everything until the end of the speech or of the connection."""
        heard = Heard()
        while (event := await self.next()) is not None:
            if AudioStart.is_type(event.type):
                heard.starts += 1
            elif AudioChunk.is_type(event.type):
                chunk = AudioChunk.from_event(event)
                heard.audio += chunk.audio
                heard.formats.add((chunk.rate, chunk.width, chunk.channels))
            elif AudioStop.is_type(event.type):
                heard.stops += 1
                if not streamed:
                    return heard
            elif Error.is_type(event.type):
                heard.error = Error.from_event(event).text
            elif SynthesizeStopped.is_type(event.type):
                heard.stopped = True
                return heard
        heard.lost = True
        return heard


@asynccontextmanager
async def satellite(port: int) -> AsyncIterator[Satellite]:
    """A connection to the port for Wyoming clients."""
    client = AsyncTcpClient("127.0.0.1", port, connect_timeout=PATIENCE)
    async with client:
        yield Satellite(client)

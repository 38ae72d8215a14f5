"""One connection of a Wyoming client: its requests, read with limits and answered.

    describe                                        info
    transcribe, audio-start, audio-chunk*, audio-stop       transcript
    synthesize                                      audio-start, audio-chunk*, audio-stop
    synthesize-start, synthesize-chunk*, synthesize-stop    the same while the text is arriving, synthesize-stopped
    ping                                            pong

Failures are answered with `error`, and the connection is closed: Home Assistant waits for a transcript or the end of
the audio, and recognises no other end. The format of events: https://github.com/OHF-Voice/wyoming
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_read_event, async_write_event
from wyoming.info import Describe
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped, SynthesizeVoice

from openai_proxy.config.wyoming import WyomingConfig
from openai_proxy.errors import BadRequest, InternalError, Overloaded, ProxyError, TooLarge
from openai_proxy.exchange import Caller
from openai_proxy.runtime.state import ProxyState
from openai_proxy.secrets import vault
from openai_proxy.tasks import cancel, spawn
from openai_proxy.wyoming.info import info
from openai_proxy.wyoming.sentences import SentenceCutter
from openai_proxy.wyoming.speech import Speech
from openai_proxy.wyoming.transcription import Recording, transcribe
from openai_proxy.wyoming.wav import SampleFormat

log = logging.getLogger(__name__)

MAX_EVENT: Final = 1 << 20  # bytes of the data or payload of one event
MAX_TEXT: Final = 100_000  # characters to speak at once
_IDLE: Final = 300.0  # seconds for which a client without a request may be silent
_LINGER: Final = 1.0  # seconds that a client has to disconnect after an error
_PIECE: Final = 65_536


class BoundedReader(asyncio.StreamReader):
    """Reads no part of an event larger than MAX_EVENT: the package's reader accepts any length."""

    async def readexactly(self, n: int) -> bytes:
        """See StreamReader. Raises ValueError for what is too large."""
        if not 0 <= n <= MAX_EVENT:
            raise ValueError("the event is too large")
        return await super().readexactly(n)


class WyomingSession:
    """One connection. `serve` is its task; its requests are served one after another, each in a separate task."""

    def __init__(
        self, state: ProxyState, caller: Caller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._state = state
        self._caller = caller
        self._reader = reader
        self._writer = writer
        self._work: asyncio.Task[None] | None = None
        self._transcribe = Transcribe()
        self._recording: Recording | None = None
        self._text: _TextStream | None = None
        self._failed = False  # the client got an error, and its remaining input is discarded

    @property
    def busy(self) -> bool:
        """True while the client waits for an answer, or is sending a request."""
        working = self._work is not None and not self._work.done()
        return working or self._recording is not None or self._text is not None

    async def serve(self) -> None:
        """Serve until the client disconnects, asks for something impossible, or something fails."""
        try:
            while (event := await self._next()) is not None:
                if not self._failed:
                    await self._on(event)
        except ProxyError as error:
            await self._fail(error)
            await self._linger()
        except (OSError, asyncio.IncompleteReadError):
            log.debug("a Wyoming client at %s has left", self._caller.remote)
        except Exception:
            log.exception("a Wyoming client at %s could not be served", self._caller.remote)
            await self._fail(InternalError("Something went wrong in the proxy."))
        finally:
            await cancel(self._work)
            self._writer.close()

    async def _next(self) -> Event | None:
        """The next event; None once the client has disconnected. Raises BadRequest for an invalid one."""
        limits = self._state.generation.config.limits
        asking = self._recording is not None or self._text is not None
        try:
            async with asyncio.timeout(limits.body_idle_seconds if asking else _IDLE):
                event = await async_read_event(self._reader)
        except TimeoutError:
            if self._work is not None and not self._work.done() and not asking:
                await self._idle()
                return await self._next()
            return None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            event = None
        if event is None and not self._reader.at_eof():
            raise BadRequest("This is not an event of the Wyoming protocol.")
        return event

    async def _on(self, event: Event) -> None:
        kind = event.type
        if Describe.is_type(kind):
            await self._write(info(self._config))
        elif Ping.is_type(kind):
            await self._write(Pong(text=_text(event, "text", optional=True)).event())
        elif Transcribe.is_type(kind):
            self._transcribe = _parsed(Transcribe, event)
        elif AudioStart.is_type(kind):
            await self._audio_starts(event)
        elif AudioChunk.is_type(kind):
            if self._recording is not None:
                self._recording.add(event.payload or b"")
        elif AudioStop.is_type(kind):
            await self._audio_stops()
        elif SynthesizeStart.is_type(kind):
            await self._text_starts(event)
        elif SynthesizeChunk.is_type(kind):
            if self._text is not None:
                self._text.feed(_text(event, "text"))
        elif SynthesizeStop.is_type(kind):
            await self._text_stops()
        elif Synthesize.is_type(kind) and self._text is None:  # within a stream: the whole text repeated
            await self._synthesize(event)

    # -- transcription ------------------------------------------------------------------------------------------------

    async def _audio_starts(self, event: Event) -> None:
        await self._idle()
        model = self._config.stt
        if model is None:
            raise BadRequest("No speech-to-text model is configured for this port (wyoming.stt).")
        start = _parsed(AudioStart, event)
        limit = self._state.generation.config.limits.max_body_mb
        self._recording = Recording(model, SampleFormat(start.rate, start.width, start.channels), limit)

    async def _audio_stops(self) -> None:
        recording, self._recording = self._recording, None
        hints, self._transcribe = self._transcribe, Transcribe()
        if recording is not None:
            self._begin(self._transcribed(recording, hints), "wyoming transcription")

    async def _transcribed(self, recording: Recording, hints: Transcribe) -> None:
        text = await transcribe(self._state, self._caller, recording, hints)
        await self._write(Transcript(text=text, language=hints.language).event())

    # -- speech -------------------------------------------------------------------------------------------------------

    async def _synthesize(self, event: Event) -> None:
        await self._idle()
        hints = _parsed(Synthesize, event)
        text = _TextStream(self._speech(hints.voice))
        text.feed(_text(event, "text"))
        text.end()
        self._begin(self._speak(text), "wyoming speech")

    async def _text_starts(self, event: Event) -> None:
        await self._idle()
        self._text = _TextStream(self._speech(_parsed(SynthesizeStart, event).voice))
        self._begin(self._speak(self._text, SynthesizeStopped().event()), "wyoming speech")

    async def _text_stops(self) -> None:
        text, self._text = self._text, None
        if text is not None:
            text.end()

    def _speech(self, voice: SynthesizeVoice | None) -> Speech:
        model = self._config.tts
        if model is None:
            raise BadRequest("No text-to-speech model is configured for this port (wyoming.tts).")
        name = voice.name if voice is not None and isinstance(voice.name, str) and voice.name else None
        return Speech(self._state, self._caller, model, (name or self._config.voices[0])[:256], self._write)

    async def _speak(self, text: "_TextStream", last: Event | None = None) -> None:
        """Speak sentences as they arrive: the first at once, later all that have collected meanwhile."""
        while sentences := await text.next():
            await text.speech.say(" ".join(sentences))
        await text.speech.end()
        if last is not None:
            await self._write(last)

    # -- common -------------------------------------------------------------------------------------------------------

    @property
    def _config(self) -> WyomingConfig:
        config = self._state.generation.config.wyoming
        if config is None:
            raise Overloaded("The port has been closed.", code="draining")
        return config

    async def _idle(self) -> None:
        """Wait until earlier requests have been answered."""
        if self._work is not None:
            await asyncio.wait([self._work])

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._work = spawn(self._guarded(work), name=name)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; on failure the client gets an error and is disconnected."""
        try:
            await work
        except ProxyError as error:
            await self._fail(error)
        except OSError:
            self._writer.transport.abort()
        except Exception:
            log.exception("a Wyoming client at %s could not be served", self._caller.remote)
            await self._fail(InternalError("Something went wrong in the proxy."))

    async def _fail(self, error: ProxyError) -> None:
        """Send the error, and disconnect."""
        log.debug("a Wyoming client at %s: %s", self._caller.remote, error.message)
        self._failed = True
        self._state.loop.call_later(_LINGER, self._writer.transport.abort)
        try:
            await self._write(Error(text=vault.scrub(error.message), code=error.code).event())
            self._writer.write_eof()
        except OSError:
            log.debug("it had left already")

    async def _linger(self) -> None:
        """Read on for a moment: closing on a client that still sends would discard the error."""
        try:
            while await self._reader.read(_PIECE):
                pass
        except OSError:
            return

    async def _write(self, event: Event) -> None:
        """Send an event. Raises OSError if the client has disconnected or accepts nothing."""
        async with asyncio.timeout(self._state.generation.config.limits.write_seconds):  # a TimeoutError is an OSError
            await async_write_event(event, self._writer)


class _TextStream:
    """Sentences to be spoken, as they come in."""

    def __init__(self, speech: Speech) -> None:
        self.speech = speech
        self._cutter = SentenceCutter()
        self._sentences: list[str] = []
        self._size = 0
        self._ended = False
        self._changed = asyncio.Event()

    def feed(self, text: str) -> None:
        """More text. Raises TooLarge."""
        self._size += len(text)
        if self._size > MAX_TEXT:
            raise TooLarge("The text is too long to be spoken.")
        self._sentences += self._cutter.feed(text)
        self._changed.set()

    def end(self) -> None:
        """The text is complete."""
        self._sentences += self._cutter.rest()
        self._ended = True
        self._changed.set()

    async def next(self) -> list[str]:
        """What can be spoken now, at least one sentence; none at the end."""
        while not self._sentences and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        return self.speech.share(self._sentences)


def _parsed(kind: Any, event: Event) -> Any:
    """`event` in the package's form. Raises BadRequest."""
    try:
        return kind.from_event(event)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadRequest(f"The event {event.type[:40]} is malformed.") from None


def _text(event: Event, name: str, *, optional: bool = False) -> Any:
    value = event.data.get(name)
    if isinstance(value, str) or (optional and value is None):
        return value
    raise BadRequest(f"The event {event.type[:40]} has no text.")

"""Speech to text: sends a satellite's recording to the model."""

import re
import secrets
from typing import Any, Final

import orjson
from wyoming.asr import Transcribe

from openai_proxy.decision.internal import answer_of, sendable
from openai_proxy.endpoints import at
from openai_proxy.errors import BadRequest, TooLarge, UpstreamInvalid
from openai_proxy.exchange import Caller, Headers
from openai_proxy.runtime.state import ProxyState
from openai_proxy.wyoming.wav import SampleFormat, wav_file

_ENDPOINT: Final = at("/audio/transcriptions")
_MAX_AUDIO: Final = 25_000_000  # bytes; OpenAI's maximum: 13 minutes of Home Assistant's audio
_MAX_ANSWER: Final = 1 << 20
_MAX_HINTS: Final = 800  # characters; Whisper reads 224 tokens of a prompt


class Recording:
    """Audio of one utterance, for `model`."""

    def __init__(self, model: str, form: SampleFormat, limit_mb: float) -> None:
        """Raises BadRequest for a format that no microphone has."""
        numbers = (form.rate, form.width, form.channels)
        if not all(isinstance(number, int) for number in numbers) or not (
            1000 <= form.rate <= 384_000 and form.width in (1, 2, 3, 4) and 1 <= form.channels <= 8
        ):
            raise BadRequest("The format of the audio cannot be used.")
        self.model = model
        self.form = form
        self._limit = min(_MAX_AUDIO, int(limit_mb * 2**20))
        self._samples = bytearray()

    def add(self, samples: bytes) -> None:
        """More audio. Raises TooLarge."""
        if len(self._samples) + len(samples) > self._limit:
            raise TooLarge("The recording is too long.")
        self._samples += samples

    def wav(self) -> bytes:
        """The recording as a file, without an incomplete frame at the end."""
        whole = len(self._samples) - len(self._samples) % self.form.frame
        return wav_file(bytes(self._samples[:whole]), self.form)

    def __len__(self) -> int:
        return len(self._samples)


async def transcribe(state: ProxyState, caller: Caller, recording: Recording, hints: Transcribe) -> str:
    """The transcript. Raises ProxyError."""
    if not recording:
        return ""
    audio = recording.wav()
    fields = {name: sendable(state, value) for name, value in _fields(hints).items()}

    def make(model: str) -> tuple[Headers, bytes]:
        boundary = secrets.token_hex(16)
        body = _form(boundary, {"model": model, **fields}, audio)
        content_type = f"multipart/form-data; boundary={boundary}".encode()
        return [(b"Content-Type", content_type), (b"Accept", b"application/json")], body

    async with answer_of(state, caller, _ENDPOINT, recording.model, make) as answer:
        return _text_of(await answer.read(_MAX_ANSWER))


def _fields(hints: Transcribe) -> dict[str, str]:
    fields = {"response_format": "json"}
    language = re.match(r"[A-Za-z]{2,3}(?![A-Za-z])", str(hints.language or ""))
    if language is not None:  # ISO 639-1, without a region
        fields["language"] = language[0].lower()
    listed = [*_listed(hints.transcript_names), *_listed(hints.transcript_terms)]
    if words := ", ".join(listed)[:_MAX_HINTS]:
        fields["prompt"] = words
    return fields


def _listed(names: Any) -> list[str]:
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _form(boundary: str, fields: dict[str, str], audio: bytes) -> bytes:
    """A multipart body (RFC 7578). The boundary is random, so it occurs in no part."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="speech.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    return b"".join([*parts, head.encode(), audio, f"\r\n--{boundary}--\r\n".encode()])


def _text_of(body: bytes) -> str:
    """The text of an answer: an object with `text`, or plain text from servers without JSON."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        words = body.decode("utf-8", "replace")
        document = {} if words.lstrip().startswith(("<", "{")) else {"text": words}
    text = document.get("text") if isinstance(document, dict) else None
    if not isinstance(text, str):
        raise UpstreamInvalid("The speech-to-text model returned no text.")
    return text.strip()

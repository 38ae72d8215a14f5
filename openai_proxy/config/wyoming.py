"""`wyoming` of proxy.yaml: the port for Home Assistant's voice satellites."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from openai_proxy.config.fields import Port, StrictModel, TextOrNames, wrong

LANGUAGES = (
    "af", "ar", "az", "be", "bg", "bn", "bs", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "eu", "fa", "fi",
    "fr", "ga", "gl", "gu", "he", "hi", "hr", "hu", "hy", "id", "is", "it", "ja", "ka", "kk", "kn", "ko", "lb", "lt",
    "lv", "mk", "ml", "mn", "mr", "ms", "nb", "ne", "nl", "nn", "pa", "pl", "ps", "pt", "ro", "ru", "si", "sk", "sl",
    "sq", "sr", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "uz", "vi", "yue", "zh",
)  # fmt: skip
"""Languages that Whisper and OpenAI's speech models understand, in Home Assistant's codes."""


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or any(not name or len(name) > 64 for name in value):
        raise wrong("expected one name or more")
    return value


class WyomingConfig(StrictModel):
    """A port for voice satellites."""

    port: Port = Field(default=10300, description="Port to listen on; the address is that of `host`.")
    stt: str | None = Field(default=None, min_length=1, description="The speech-to-text model.")
    tts: str | None = Field(default=None, min_length=1, description="The text-to-speech model.")
    voices: Annotated[TextOrNames, AfterValidator(_some)] = Field(
        default=("alloy",), description="Voices of the text-to-speech model; the first is the default."
    )
    languages: Annotated[TextOrNames, AfterValidator(_some)] = Field(
        default=LANGUAGES, description="Languages of both models, in Home Assistant's codes."
    )
    group: str | None = Field(
        default=None, description="Satellites have no key: the group whose limits and permissions apply to them."
    )

    @model_validator(mode="after")
    def _serves(self) -> "WyomingConfig":
        if self.stt is None and self.tts is None:
            raise wrong("set a speech-to-text model (stt), a text-to-speech model (tts), or both")
        return self

    def served(self) -> Iterator[tuple[str, str]]:
        """What is offered, and by which model."""
        if self.stt is not None:
            yield "transcription", self.stt
        if self.tts is not None:
            yield "speech", self.tts

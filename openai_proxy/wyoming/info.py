"""What this port offers, in the form that Wyoming clients read."""

from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Info, TtsProgram, TtsVoice

from openai_proxy.config.wyoming import WyomingConfig
from openai_proxy.version import __version__

_NAME = "openai_proxy"
_BY = Attribution(name="openai_proxy", url="")


def info(config: WyomingConfig) -> Event:
    """The answer to `describe`."""
    languages = list(config.languages)
    found = Info()
    if config.stt is not None:
        model = AsrModel(
            name=config.stt, attribution=_BY, installed=True, description=config.stt, version=None, languages=languages
        )
        found.asr = [
            AsrProgram(
                name=_NAME, attribution=_BY, installed=True, description="Speech to text", version=__version__,
                models=[model],
            )
        ]  # fmt: skip
    if config.tts is not None:
        voices = [
            TtsVoice(name=name, attribution=_BY, installed=True, description=name, version=None, languages=languages)
            for name in config.voices
        ]
        found.tts = [
            TtsProgram(
                name=_NAME, attribution=_BY, installed=True, description="Text to speech", version=__version__,
                voices=voices, supports_synthesize_streaming=True,
            )
        ]  # fmt: skip
    return found.event()

"""The speakable part of an answer: `SpeechFilter` for streamed text, `speakable` for a whole one."""

from openai_proxy.transforms.speech.filter import SpeechFilter, speakable

__all__ = ["SpeechFilter", "speakable"]

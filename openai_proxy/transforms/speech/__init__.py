"""What may be spoken of an answer: `SpeechFilter` for text that streams, `speakable` for a whole one."""

from openai_proxy.transforms.speech.filter import SpeechFilter, speakable

__all__ = ["SpeechFilter", "speakable"]

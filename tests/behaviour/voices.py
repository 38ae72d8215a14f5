"""A configuration with a port for voice satellites, and models whose speech is the text itself."""

from typing import Any

from openai_proxy.wyoming.wav import SampleFormat, wav_file
from tests.harness.daemon import CANARY, Daemon, free_port
from tests.harness.plays import plain
from tests.harness.scripts import Seen
from tests.harness.upstream import Upstream

FORM = SampleFormat(24_000, 2, 1)
UTTERANCE = bytes(range(256)) * 100


def samples_of(text: str) -> bytes:
    """The "audio" of a text: its own characters, two bytes each."""
    return text.encode("utf-16-le")


def spoken(seen: Seen) -> bytes:
    return plain(wav_file(samples_of(seen.json()["input"]), FORM), content_type="audio/wav")


def conf_of(upstream: Upstream, port: int, tts: str, **wyoming: Any) -> dict[str, Any]:
    return {
        "connections": {
            "main": {"api_base": upstream.url, "api_key": CANARY, "max_retries": 0},
            "dead": {"api_base": f"http://127.0.0.1:{free_port()}/v1", "api_key": CANARY, "max_retries": 0},
        },
        "default_connection": "main",
        "routing": {"ears": ["dead.whisper", "main.whisper"], "mouth": ["dead.x", f"main.{tts}"]},
        "groups": {"home": {"limits": {"requests_per_day": 3}}},
        "limits": {"body_idle_seconds": 5, "max_body_mb": 1},
        "wyoming": {"port": port, "stt": "ears", "tts": "mouth", **wyoming},
    }


def wyoming_of(daemon: Daemon) -> dict[str, Any]:
    return dict(daemon.control("GET", "/admin/status").json()["wyoming"] or {})

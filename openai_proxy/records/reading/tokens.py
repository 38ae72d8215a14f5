"""The token usage of an answer, in one shape for every API.

OpenAI chat: prompt_tokens, completion_tokens with *_details; OpenAI responses: input_tokens, output_tokens with
*_details (transcriptions and realtime conversations: input_token_details); Anthropic: input_tokens without those read
from or written to the cache, which are separate
(https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching#tracking-cache-performance).
"""

from typing import Any, Final, NamedTuple

from openai_proxy.records.reading.answer import RecordedAnswer

CHARACTERS_A_TOKEN: Final = 4  # characters per token of English text and JSON; only for answers without reported usage


class OtherTokens(NamedTuple):
    """Parts of the input and the output that have prices of their own with some models, and seconds of audio."""

    cache_write: int = 0  # of the input: put into the provider's cache
    audio_input: int = 0
    image_input: int = 0
    audio_output: int = 0
    image_output: int = 0
    seconds: float = 0.0
    cache_hour: int = 0  # the part of `cache_write` kept for an hour, which costs more than five minutes


class Tokens(NamedTuple):
    """`input` includes `cached`, `output` includes `reasoning`. `cost` is as reported by the upstream, in dollars."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False
    cost: float | None = None
    other: OtherTokens | None = None

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output

    @property
    def half_known(self) -> bool:
        """True if the output may have uncounted tokens: speech reports none, and has no text to estimate from."""
        return self.estimated and not self.output


NONE: Final = Tokens()


_tokens: Final = tuple.__new__  # the tuple's own constructor is Python code, which takes twice the time


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 40 else 0


def read_usage(usage: dict[str, Any]) -> Tokens:
    """The tokens of a usage object of any of the APIs."""
    given = _count(usage.get("prompt_tokens")) or _count(usage.get("input_tokens"))
    made = _count(usage.get("completion_tokens")) or _count(usage.get("output_tokens"))
    if len(usage) <= 3 and "cost" not in usage and "seconds" not in usage:
        return _tokens(Tokens, (given, made, 0, 0, False, None, None))  # the three sums and nothing else
    read = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or usage.get("input_token_details")
    read = read if isinstance(read, dict) else {}
    cached = _count(read.get("cached_tokens"))
    beside, stored = _count(usage.get("cache_read_input_tokens")), _count(usage.get("cache_creation_input_tokens"))
    if beside or stored:
        if "prompt_tokens" not in usage:
            given += beside + stored
        cached = cached or beside
    kept = usage.get("cache_creation")
    hour = kept.get("ephemeral_1h_input_tokens") if isinstance(kept, dict) else read.get("cache_write_1h_tokens")
    written = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    written = written or usage.get("output_token_details")
    written = written if isinstance(written, dict) else {}
    thought = _count(written.get("reasoning_tokens"))
    other = OtherTokens(
        _count(read.get("cache_write_tokens")) or stored,
        _count(read.get("audio_tokens")),
        _count(read.get("image_tokens")),
        _count(written.get("audio_tokens")),
        _count(written.get("image_tokens")),
        _amount(usage.get("seconds")) or 0.0,
        _count(hour),
    )
    return _tokens(Tokens, (given, made, cached, thought, False, _reported_cost(usage), other if any(other) else None))


def _reported_cost(usage: dict[str, Any]) -> float | None:
    """The cost that the upstream reports, in dollars.

    For a customer's own provider key, OpenRouter reports its fee, and separately what the model's provider charges
    (https://openrouter.ai/docs/guides/guides/usage-accounting).
    """
    cost = _amount(usage.get("cost"))
    details = usage.get("cost_details")
    if cost is not None and usage.get("is_byok") is True and isinstance(details, dict):
        cost += _amount(details.get("upstream_inference_cost")) or 0.0
    return cost


def _amount(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < 1e12 else None


def tokens_of(
    answer: RecordedAnswer, status: int, request_tokens: int, reported: dict[str, Any] | None = None
) -> Tokens:
    """The usage that the upstream reported, else an estimate, marked as such; `request_tokens` is that of the request.

    `reported` is the upstream's usage object, in case the translated answer has less detail.
    """
    if reported:
        return read_usage(reported)
    if answer.usage is not None:
        return read_usage(answer.usage)
    if not 200 <= status < 300 or not answer.size:
        return NONE
    return Tokens(request_tokens, -(-answer.size // CHARACTERS_A_TOKEN), estimated=True)


def estimate(messages: Any) -> int:
    """Tokens of a conversation: its text, and four for the frame of each message, as OpenAI counts it."""
    total = 0
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            size = sum(len(p["text"]) for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
        else:
            size = len(content) if isinstance(content, str) else 0
        total += 4 + size // CHARACTERS_A_TOKEN
    return total

"""What an answer cost in tokens, in one shape for every API.

OpenAI chat: prompt_tokens, completion_tokens with *_details; OpenAI responses: input_tokens, output_tokens with
*_details; Anthropic: input_tokens without what came from or went into the cache, which stand beside it
(https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching#tracking-cache-performance).
"""

from typing import Any, Final, NamedTuple

from openai_proxy.records.reading.answer import RecordedAnswer

CHARACTERS_A_TOKEN: Final = 4  # of English text and JSON; only for answers whose upstream told nothing


class OtherTokens(NamedTuple):
    """Parts of the input and the output that have prices of their own with some models, and seconds of audio."""

    cache_write: int = 0  # of the input: put into the provider's cache
    audio_input: int = 0
    image_input: int = 0
    audio_output: int = 0
    image_output: int = 0
    seconds: float = 0.0


class Tokens(NamedTuple):
    """`input` includes `cached`, `output` includes `reasoning`. `cost` is what the upstream itself said, in dollars."""

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


NONE: Final = Tokens()


_tokens: Final = tuple.__new__  # what the named tuple calls itself, by way of Python code: twice the time


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 40 else 0


def read_usage(usage: dict[str, Any]) -> Tokens:
    """The tokens of a usage object of any of the APIs."""
    given = _count(usage.get("prompt_tokens")) or _count(usage.get("input_tokens"))
    made = _count(usage.get("completion_tokens")) or _count(usage.get("output_tokens"))
    if len(usage) <= 3 and "cost" not in usage and "seconds" not in usage:
        return _tokens(Tokens, (given, made, 0, 0, False, None, None))  # the three sums and nothing else
    read = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    read = read if isinstance(read, dict) else {}
    cached = _count(read.get("cached_tokens"))
    beside, stored = _count(usage.get("cache_read_input_tokens")), _count(usage.get("cache_creation_input_tokens"))
    if beside or stored:
        if "prompt_tokens" not in usage:
            given += beside + stored
        cached = cached or beside
    written = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    written = written if isinstance(written, dict) else {}
    thought = _count(written.get("reasoning_tokens"))
    other = OtherTokens(
        _count(read.get("cache_write_tokens")) or stored,
        _count(read.get("audio_tokens")),
        _count(read.get("image_tokens")),
        _count(written.get("audio_tokens")),
        _count(written.get("image_tokens")),
        _amount(usage.get("seconds")) or 0.0,
    )
    return _tokens(Tokens, (given, made, cached, thought, False, _told(usage), other if any(other) else None))


def _told(usage: dict[str, Any]) -> float | None:
    """What the upstream says it takes, in dollars.

    For a key of one's own OpenRouter tells its fee, and beside it what the model's provider takes
    (https://openrouter.ai/docs/guides/guides/usage-accounting).
    """
    cost = _amount(usage.get("cost"))
    details = usage.get("cost_details")
    if cost is not None and usage.get("is_byok") is True and isinstance(details, dict):
        cost += _amount(details.get("upstream_inference_cost")) or 0.0
    return cost


def _amount(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < 1e12 else None


def tokens_of(answer: RecordedAnswer, status: int, asked: int, told: dict[str, Any] | None = None) -> Tokens:
    """What the upstream said, else, marked as such, an estimate; `asked` is that of the request.

    `told` is what the upstream said where the answer in the client's own language may hold less of it.
    """
    if told:
        return read_usage(told)
    if answer.usage is not None:
        return read_usage(answer.usage)
    if not 200 <= status < 300 or not answer.size:
        return NONE
    return Tokens(asked, -(-answer.size // CHARACTERS_A_TOKEN), estimated=True)


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

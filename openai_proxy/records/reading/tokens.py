"""What an answer cost in tokens, in one shape for every API.

OpenAI chat: prompt_tokens, completion_tokens with *_details; OpenAI responses: input_tokens, output_tokens with
*_details; Anthropic: input_tokens without what came from or went into the cache, which stand beside it
(https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching#tracking-cache-performance).
"""

from typing import Any, Final, NamedTuple

from openai_proxy.records.reading.answer import RecordedAnswer

CHARACTERS_A_TOKEN: Final = 4  # of English text and JSON; only for answers whose upstream told nothing


class Tokens(NamedTuple):
    """`input` includes `cached`, `output` includes `reasoning`. `cost` is what the upstream itself said, in dollars."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False
    cost: float | None = None

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
    if len(usage) <= 3:
        return _tokens(Tokens, (given, made, 0, 0, False, None))  # the three sums and nothing else
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    beside = _count(usage.get("cache_read_input_tokens"))
    if beside or usage.get("cache_creation_input_tokens"):
        if "prompt_tokens" not in usage:
            given += beside + _count(usage.get("cache_creation_input_tokens"))
        cached = cached or beside
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    thought = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else 0
    cost = usage.get("cost")
    told = float(cost) if isinstance(cost, int | float) and cost >= 0 else None
    return _tokens(Tokens, (given, made, cached, thought, False, told))


def tokens_of(answer: RecordedAnswer, status: int, asked: int) -> Tokens:
    """What the upstream said, else, marked as such, an estimate; `asked` is that of the request."""
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

"""The price of one model, ready to be multiplied."""

from typing import NamedTuple

from openai_proxy.records.reading.tokens import Tokens


class Rates(NamedTuple):
    """The price of one token."""

    input: float
    cached: float
    cache_write: float
    output: float
    reasoning: float
    audio_input: float
    image_input: float
    audio_output: float
    image_output: float
    cache_hour: float


class ModelPrice:
    """Rates by the length of the input: many models charge more for long prompts, for all their tokens."""

    __slots__ = ("request", "second", "tiers")

    def __init__(self, tiers: tuple[tuple[int, Rates], ...], second: float = 0.0, request: float = 0.0) -> None:
        """`tiers`: rates for an input of more than that many tokens, in ascending order, the first for any.

        `second` is the price of a second of audio, `request` that of each request in addition.
        """
        self.tiers = tiers
        self.second = second
        self.request = request

    def rates(self, size: float) -> Rates:
        """The rates for an input of `size` tokens."""
        tiers = self.tiers
        found = tiers[0][1]
        for start, rates in tiers[1:]:
            if size > start:
                found = rates
        return found

    def estimate(self, read: int, written: int) -> float:
        """The cost of a request with that many tokens, none of them of a special kind."""
        tiers = self.tiers
        rates = tiers[0][1] if len(tiers) == 1 else self.rates(read)
        return read * rates.input + written * rates.output + self.request

    def cost(self, tokens: Tokens, number: int = 1) -> float | None:
        """The cost of `number` requests with `tokens` in total; None if a billed part is unknown."""
        rates = self.rates(tokens.input / number) if len(self.tiers) > 1 else self.tiers[0][1]
        if tokens.half_known and (rates.output or rates.audio_output):
            return None
        cached = min(tokens.cached, tokens.input)
        thought = min(tokens.reasoning, tokens.output)
        read, written = tokens.input - cached, tokens.output - thought
        cost = cached * rates.cached + thought * rates.reasoning + number * self.request
        other = tokens.other
        if other is not None:
            stored = min(other.cache_write, read)
            audio = min(other.audio_input, read - stored)
            seen = min(other.image_input, read - stored - audio)
            spoken = min(other.audio_output, written)
            drawn = min(other.image_output, written - spoken)
            kept = min(other.cache_hour, stored)
            cost += kept * rates.cache_hour + (stored - kept) * rates.cache_write
            cost += audio * rates.audio_input + seen * rates.image_input
            cost += spoken * rates.audio_output + drawn * rates.image_output + other.seconds * self.second
            read -= stored + audio + seen
            written -= spoken + drawn
        return cost + read * rates.input + written * rates.output

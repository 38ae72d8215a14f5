"""What answers cost: reported, configured, bundled, unknown."""

from types import SimpleNamespace
from typing import Any

import pytest

from openai_proxy.dialects.messages.tables import chat_usage
from openai_proxy.records.counting.bundled_prices import BundledPrices, PriceQuestion, ask_child
from openai_proxy.records.counting.prices import Pending, Prices
from openai_proxy.records.counting.rates import ModelPrice, Rates
from openai_proxy.records.reading.tokens import OtherTokens, Tokens, read_usage
from tests.records.conftest import exchange

TABLE = {"gpt-4o": {"input": 2.5, "cached_input": 1.25, "output": 10}, "claude*": SimpleNamespace(input=3, output=15)}
CONNECTIONS = {
    "openrouter": SimpleNamespace(api_type="openai", api_base="https://openrouter.ai/api/v1"),
    "box": SimpleNamespace(api_type="ollama", api_base="http://127.0.0.1:11434"),
}


def bundled(answers: dict[str, Any]) -> BundledPrices:
    """Prices for the models in `answers`, their number times one dollar per million."""

    def ask(questions: list[PriceQuestion]) -> list[Any]:
        asked.extend(questions)
        rates = {q: [(-1, [answers[q.model] / 1e6] * 10)] for q in questions if q.model in answers}
        return [{"tiers": rates[q], "second": 0.5, "request": 0} if q in rates else None for q in questions]

    asked: list[PriceQuestion] = []
    found = BundledPrices(ask)
    found.asked = asked  # type: ignore[attr-defined]
    return found


def test_the_price_that_the_upstream_reports_comes_first() -> None:
    prices = Prices(TABLE)
    assert prices.charge(exchange(), Tokens(1_000_000, 100_000, cached=400_000)) == pytest.approx(1.5 + 0.5 + 1.0)
    assert prices.charge(exchange(model="claude-x"), Tokens(1_000_000, 0, cached=500_000)) == pytest.approx(3.0)
    assert prices.charge(exchange(model="fast", upstream_model="gpt-4o"), Tokens(2, 0)) == pytest.approx(5e-6)
    assert prices.charge(exchange(), Tokens(5, 5, cost=0.25)) == 0.25
    assert prices.charge(exchange(model="unknown"), Tokens(5, 5)) is None


def test_bundled_prices_fill_the_gaps() -> None:
    data = bundled({"gpt-4o": 9.0, "new": 2.0})
    prices = Prices(TABLE, CONNECTIONS, data)
    assert prices.charge(exchange(), Tokens(1000, 0)) == pytest.approx(0.0025), (
        "a configured price must be used instead of the bundled one"
    )
    assert isinstance(prices.charge(exchange(model="new"), Tokens(10, 0)), Pending)
    assert prices.known_charge(exchange(model="new"), Tokens(10, 0)) == pytest.approx(20e-6)
    assert prices.charge(exchange(model="new"), Tokens(10, 0)) == pytest.approx(20e-6)
    assert prices.known_charge(exchange(model="nobody's"), Tokens(10, 0)) is None
    assert prices.charge(exchange(model="nobody's"), Tokens(10, 0)) is None
    assert prices.known_charge(exchange(model="new", connection="box"), Tokens(10, 0)) is None, (
        "a local model must have no bundled price"
    )
    assert [question.model for question in data.asked] == ["new", "nobody's"]  # type: ignore[attr-defined]
    assert Prices(TABLE, CONNECTIONS).charge(exchange(model="new"), Tokens(10, 0)) is None


def test_dollars_are_not_used_with_another_currency() -> None:
    prices = Prices(TABLE, CONNECTIONS, bundled({"new": 2.0}), "EUR")
    assert prices.charge(exchange(model="new"), Tokens(10, 0)) is None
    assert prices.charge(exchange(model="new"), Tokens(10, 0, cost=1.0)) is None
    assert prices.charge(exchange(), Tokens(1000, 0, cost=1.0)) == pytest.approx(0.0025)


def test_paid_answers_without_token_counts_have_an_unknown_price() -> None:
    prices = Prices({"*": {"input": 1, "output": 1}})
    assert prices.charge(exchange("/audio/speech"), Tokens()) is None
    assert prices.charge(exchange("/images/generations"), Tokens()) is None
    assert prices.charge(exchange("/files"), Tokens()) == 0.0


def test_speech_paid_by_audio_needs_token_counts() -> None:
    prices = Prices({"by-text": {"input": 1000}, "by-sound": {"input": 1000, "output": 1000}})
    spoken = Tokens(10, estimated=True)
    assert prices.charge(exchange("/audio/speech", model="by-text"), spoken) == pytest.approx(0.01)
    assert prices.charge(exchange("/audio/speech", model="by-sound"), spoken) is None
    assert prices.charge(exchange("/audio/speech", model="by-sound"), Tokens(10, 10)) == pytest.approx(0.02)


def test_long_prompts_cost_more_and_each_round_is_priced_alone() -> None:
    low, high = Rates(*[1.0] * 10), Rates(*[2.0] * 10)
    price = ModelPrice(((-1, low), (100, high)))
    assert price.cost(Tokens(100, 10)) == 110
    assert price.cost(Tokens(101, 10)) == 222
    assert price.cost(Tokens(150, 10), 2) == 160


def test_kinds_of_tokens_have_their_own_prices() -> None:
    price = ModelPrice(((-1, Rates(1, 0.1, 2, 10, 20, 3, 4, 30, 40, 5)),), second=0.5, request=7)
    assert price.cost(Tokens(10, 10, cached=4, reasoning=3)) == pytest.approx(6 + 0.4 + 70 + 60 + 7)
    other = OtherTokens(cache_write=2, audio_input=1, image_input=1, audio_output=1, image_output=2, seconds=4)
    cost = price.cost(Tokens(10, 10, other=other))
    assert cost == pytest.approx((6 * 1 + 2 * 2 + 3 + 4) + (7 * 10 + 30 + 2 * 40) + 4 * 0.5 + 7)
    hour = price.cost(Tokens(10, 10, other=OtherTokens(cache_write=5, cache_hour=3)))
    assert hour == pytest.approx(5 * 1 + 2 * 2 + 3 * 5 + 10 * 10 + 7)
    lying = Tokens(1, 1, cached=5, reasoning=5, other=OtherTokens(9, 9, 9, 9, 9, cache_hour=9))
    assert price.cost(lying) == pytest.approx(0.1 + 20 + 7), "parts must not be charged beyond the total of the tokens"


def test_usage_details() -> None:
    assert read_usage({"type": "duration", "seconds": 9}).other == OtherTokens(seconds=9.0)
    told = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.01, "is_byok": True,
            "cost_details": {"upstream_inference_cost": 0.2}}  # fmt: skip
    assert read_usage(told).cost == pytest.approx(0.21)
    assert read_usage({"prompt_tokens": 1, "completion_tokens": 1, "cost": 1.5}).cost == 1.5
    claude = {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 7,
              "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}}  # fmt: skip
    assert read_usage(claude) == read_usage(chat_usage(claude)) == Tokens(8, 1, other=OtherTokens(7, cache_hour=4))
    audio = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"audio_tokens": 4},
             "completion_tokens_details": {"audio_tokens": 3}}  # fmt: skip
    assert read_usage(audio).other == OtherTokens(audio_input=4, audio_output=3)
    assert read_usage({"prompt_tokens": 9, "cost": float("nan"), "a": 1, "b": 2}).cost is None


def test_a_failing_price_process_is_not_restarted_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now, calls = [0.0], []

    def ask(questions: list[PriceQuestion]) -> list[Any]:
        calls.append(questions)
        raise OSError("no memory")

    data = BundledPrices(ask, clock=lambda: now[0])
    question = PriceQuestion("openai", "", "x", "m")
    data.look_up([question])
    data.look_up([question])
    assert len(calls) == 1
    assert data.known(question) == (True, None)
    assert data.answer(question) == (False, None)
    assert "costs stay unknown" in caplog.text
    now[0] = 61.0
    assert data.known(question) == (False, None)
    data.look_up([question])
    assert len(calls) == 2


def test_prices_are_read_again_after_an_hour() -> None:
    now, calls = [0.0], []

    def ask(questions: list[PriceQuestion]) -> list[Any]:
        calls.append(questions)
        return [None] * len(questions)

    data = BundledPrices(ask, clock=lambda: now[0])
    question = PriceQuestion("openai", "", "x", "m")
    data.look_up([question])
    data.look_up([question])
    assert len(calls) == 1
    now[0] = 3601.0
    assert data.known(question) == (True, None)
    data.look_up([question])
    assert len(calls) == 2


def test_the_price_process_knows_public_models() -> None:
    questions = [
        PriceQuestion("openai", "http://127.0.0.1:9/v1", "up", "gpt-4o"),
        PriceQuestion("openai", "https://openrouter.ai/api/v1", "or", "anthropic/claude-sonnet-4"),
        PriceQuestion("anthropic", "https://api.anthropic.com", "claude", "claude-sonnet-4-5"),
        PriceQuestion("openai", "http://127.0.0.1:9/v1", "groq", "llama-3.3-70b-versatile"),
        PriceQuestion("openai", "http://127.0.0.1:9/v1", "up", "text-embedding-3-small"),
        PriceQuestion("openai", "https://api.openai.com/v1", "openai", "tts-1"),
        PriceQuestion("openai", "http://127.0.0.1:9/v1", "up", "nobody's model"),
    ]
    gpt, claude, long, llama, embedding, speech, unknown = ask_child(questions)
    assert gpt["tiers"][0][1][:2] == pytest.approx([2.5e-6, 1.25e-6])
    assert claude["tiers"][0][1][3] == pytest.approx(15e-6)
    assert [start for start, _ in long["tiers"]] == [-1, 200_000]
    assert long["tiers"][1][1][0] > long["tiers"][0][1][0]
    assert llama is not None
    assert embedding is not None
    assert speech["tiers"][0][1][0] == pytest.approx(15e-6 * 4), (
        "15 dollars per million characters, at four characters per token"
    )
    assert unknown is None

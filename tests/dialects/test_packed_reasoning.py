"""Another provider's reasoning packed as text: it is restored exactly, whatever characters and numbers it contains."""

import base64
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.packed_reasoning import is_packed, pack, unpack

TEXTS = st.text(st.characters())  # including halves of characters


@given(st.lists(st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans(), max_size=4), max_size=4))
def test_packed_reasoning_is_unpacked(details: list[dict[str, Any]]) -> None:
    packed = pack(details)
    assert is_packed(packed)
    assert packed.isascii()
    assert unpack(packed) == details


@pytest.mark.parametrize("text", ["half \ud83d", "\udc00"])
def test_half_a_character_is_kept(text: str) -> None:
    assert unpack(pack([{"text": text}])) == [{"text": text}]


@pytest.mark.parametrize("damaged", ["oap1.", "oap1.%%%", "oap1.eJw=", pack([{"text": "x"}])[:-6]])
def test_a_damaged_text_is_ignored(damaged: str) -> None:
    assert unpack(damaged) is None


DETAILS = [{"type": "reasoning.encrypted", "data": "x" * 40 + "?>~"}]


def test_packed_text_is_base64_for_googles_clients() -> None:
    packed = pack(DETAILS)
    decoded = base64.b64decode(packed, validate=True)
    for again in (base64.b64encode(decoded), base64.urlsafe_b64encode(decoded).rstrip(b"=")):
        assert is_packed(again.decode())
        assert unpack(again.decode()) == DETAILS


OLD = {
    "of Responses and Messages clients": "oap1."
    + base64.urlsafe_b64encode(zlib.compress(orjson.dumps({"details": DETAILS}), 1)).decode(),
    "of Gemini clients": base64.b64encode(b"openai-proxy:" + zlib.compress(orjson.dumps(DETAILS))).decode(),
}


@pytest.mark.parametrize("text", OLD.values(), ids=OLD)
def test_the_old_format_in_clients_histories_is_read(text: str) -> None:
    assert is_packed(text)
    assert unpack(text) == DETAILS


def test_reasoning_that_repeats_itself_is_unpacked() -> None:
    details = [{"type": "reasoning.text", "text": "again and " * 100_000}]
    assert unpack(pack(details)) == details


def test_a_decompression_bomb_is_ignored() -> None:
    """A request small enough to be read on the event loop could contain fifty of them."""
    bomb = zlib.compress(orjson.dumps([{"text": "x" * 4_000_000}]))
    assert unpack(base64.b64encode(b"openai-proxy:" + bomb).decode()) is None

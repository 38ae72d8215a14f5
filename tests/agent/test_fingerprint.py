"""The text of a message with normalised white space is the same whether processed at once or in steps."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.agent import fingerprint


@given(st.text(st.sampled_from("ab \t\n\u00a0\x1c")), st.integers(1, 9))
def test_a_long_text_is_normalised_in_steps(text: str, step: int) -> None:
    with patch.object(fingerprint, "_STEP", step):
        assert fingerprint.text(text) == " ".join(text.split())

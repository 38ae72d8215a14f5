"""Model objects as clients see them."""

from typing import Any

import pytest

from openai_proxy.routing.listing import model_object


@pytest.mark.parametrize(
    ("created", "seconds"),
    [(1700000000, 1700000000), ("1700000000", 1700000000), (1700000000.5, 1700000000),
     ("2023-11-14T22:13:20Z", 1700000000), (None, 0), ("soon", 0), ([], 0), (True, 0), ("9" * 400, 0)],
)  # fmt: skip
def test_lists_that_typed_clients_cannot_read_are_repaired(created: Any, seconds: int):
    model = model_object("m", {"id": "x", "created": created, "owned_by": None, "extra": 1})
    assert model == {"id": "m", "object": "model", "created": seconds, "owned_by": "openai-proxy", "extra": 1}

"""Numbers of tokens, as clients and servers write them."""

from typing import Any

from openai_proxy.errors import BadRequest


def token_limit(value: Any, name: str) -> int:
    """`value`, the member `name` of a request, as a number of tokens: some write 150 as 150.0.

    Raises BadRequest.
    """
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadRequest(f"'{name}' must be a whole number of at least 1.", param=name)
    return value


def count_of(value: Any) -> int:
    """A count: a whole number, also as a float (some servers write 12.0)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0

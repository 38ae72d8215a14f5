"""What a client sent in another type than its API's, where no check named the member: a 400, and never a 500."""

from collections.abc import Iterator
from contextlib import contextmanager

from openai_proxy.errors import BadRequest


@contextmanager
def as_bad_request() -> Iterator[None]:
    """Turn the errors that a member of an unexpected type causes into BadRequest."""
    try:
        yield
    except RecursionError:
        raise BadRequest("The request is nested too deeply.") from None
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        raise BadRequest("The request is not understood: a member has the wrong type.") from None

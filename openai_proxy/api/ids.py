"""Request ids."""

import random
from itertools import count

_START = f"req_{random.getrandbits(56):014x}"
_numbers = count(random.getrandbits(32))


def new_id() -> str:
    """A request id: 24 hex digits, the process and the request's number. Not a secret."""
    return f"{_START}{next(_numbers):010x}"

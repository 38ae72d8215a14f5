"""Request ids."""

import random
from itertools import count
from typing import Final

_START: Final = f"req_{random.getrandbits(56):014x}"
_numbers = count((1 << 40) + random.getrandbits(32))


def new_id() -> str:
    """A request id: 24 hex digits, the process and the request's number. Not a secret."""
    return _START + hex(next(_numbers))[3:]  # without "0x1": ten digits, and a third of what formatting takes

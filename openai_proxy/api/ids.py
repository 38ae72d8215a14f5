"""Request ids."""

import random
from itertools import count
from typing import Final

_START: Final = f"req_{random.getrandbits(56):014x}"
_next: Final = count((1 << 40) + random.getrandbits(32)).__next__
_hex: Final = hex


def new_id() -> str:
    """A request id: 24 hex digits, the process and the request's number. Not a secret."""
    return _START + _hex(_next())[3:]  # without "0x1": ten digits, and a third of what formatting takes

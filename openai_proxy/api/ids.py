"""Request ids."""

import random


def new_id() -> str:
    """A request id. Not a secret, so the fast generator does."""
    return f"req_{random.getrandbits(96):024x}"

"""A custom tool: list it in a model's `tools:` and the model can call it. Saving the file reloads it."""

import secrets

from openai_proxy import tool


@tool
def roll_dice(sides: int = 6) -> str:
    """Roll one die.

    Args:
        sides: How many sides the die has.
    """
    return f"You rolled {secrets.randbelow(max(2, min(sides, 1000))) + 1}."

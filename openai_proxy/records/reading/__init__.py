"""Reads what was recorded: the model, text, calls and tokens of answers in every format."""

"""Reads the model, text, calls and tokens of recorded answers in every format."""

"""Ask, run our tools, ask again: one honest answer."""

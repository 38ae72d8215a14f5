"""In-chat commands: `!/set(model=NAME)` and its kin (contract section 5).

parser      commands in a text, by position
dialogue    whose turn is which in a request, whatever API it came by
cleaning    what of a request goes upstream once commands are taken out
registry    the commands there are; each lives in a small file of its own in `builtin`
context     what a command may see and change
"""

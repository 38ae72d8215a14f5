"""In-chat commands: `!/set(model=NAME)` and the like (contract section 5).

parser      commands in a text, by position
dialogue    the turns of a request, whatever API it uses
cleaning    the request to send upstream, without commands
registry    the available commands; each lives in a small file in `builtin`
context     what a command may see and change
"""

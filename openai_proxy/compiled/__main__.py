"""`python -m openai_proxy.compiled`: build the library unless it exists, and print its path or why there is none.

The path goes to stdout, everything else to stderr. The exit status is 0 either way, since everything works without it.
With `--check` nothing is built: the status says whether this machine has what a build needs besides mypyc.
"""

import signal
import sys

from openai_proxy.compiled import library
from openai_proxy.compiled.build import build, obstacle


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m openai_proxy.compiled [--check]\n")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an end by `timeout` or `make` cleans up as ^C does
    try:
        why = obstacle() if arguments else build()
    except KeyboardInterrupt:
        return 130
    if why is not None:
        sys.stderr.write(f"not compiled: {why}\n")
        return len(arguments)
    if not arguments:
        sys.stdout.write(f"{library()}\n")
    return 0


sys.exit(main(sys.argv[1:]))

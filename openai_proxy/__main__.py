"""`python -m openai_proxy` and the `openai-proxy` script: the same program."""

import sys


def main() -> None:
    """Run the command line and exit with its code (0 fine, 1 refused, 2 bad usage, 70 a crash)."""
    from openai_proxy.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

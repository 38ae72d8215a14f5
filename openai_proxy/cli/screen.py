"""All output of the commands goes through here."""

import sys

import click

from openai_proxy.secrets import vault
from openai_proxy.terminal_text import printable


def say(text: object = "", *, err: bool = False, nl: bool = True, scrub: bool = True) -> None:
    """Write `text` to stdout, or to stderr if `err`, with control characters escaped and known secrets removed.

    `nl` ends it with a line feed; `scrub=False` leaves secrets in. Raises BrokenPipeError if the reader has gone.
    """
    words = str(text)
    click.echo(printable(vault.scrub(words) if scrub else words), err=err, nl=nl)


def complain(text: object) -> None:
    """Write an error as one line to stderr, after the program's name."""
    say(f"openai-proxy: {' '.join(str(text).split())}", err=True)


class StatusLine:
    """A dim line on stderr that the next text replaces; plain lines if stderr is not a terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = False

    def show(self, words: str) -> None:
        """Replace what is shown."""
        if self._live:
            self.wipe()
            click.echo(f"\x1b[2m{printable(' '.join(words.split()))[:100]}\x1b[0m", err=True, nl=False)
            self._shown = True
        else:
            say(words, err=True)

    def wipe(self) -> None:
        """Remove what is shown, if anything is."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = False

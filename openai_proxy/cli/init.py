"""`openai-proxy init DIR`: write a commented starter conf/; on a terminal, first ask for a provider and try it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openai_proxy.cli.screen import complain, say

if TYPE_CHECKING:
    from openai_proxy.cli.first_provider import ChosenProvider

STARTER = Path(__file__).parent.parent / "config" / "starter"
SCHEMAS = Path(__file__).parent.parent / "config" / "schemas"


def starter_files() -> dict[str, bytes]:
    """Path below conf/ -> content of every file that `init` writes: the starter, and `.schemas/` for editors."""
    found = {
        path.relative_to(STARTER).as_posix(): path.read_bytes()
        for path in sorted(STARTER.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    found |= {f".schemas/{path.name}": path.read_bytes() for path in sorted(SCHEMAS.glob("*.json"))}
    return found


def asks() -> bool:
    """True if someone is there to answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--config-dir", type=click.Path(path_type=Path), default=Path("conf"), help="The same as DIRECTORY.")
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Where keys are written.")
@click.option("--yes", is_flag=True, help="Ask nothing, only write the files.")
def command(directory: Path | None, config_dir: Path, env_file: Path, yes: bool) -> int:
    """Write a commented starter configuration into DIRECTORY (default: conf). Nothing is ever overwritten.

    On a terminal it asks for a provider and its key, tries them, and finally prints the addresses for your clients.
    """
    return run(directory or config_dir, env_file, ask=not yes and asks())


def run(directory: Path, env_file: Path, *, ask: bool) -> int:
    """Run the command; returns its exit code."""
    wanted = starter_files()
    there = [name for name in wanted if (directory / name).exists() or (directory / name).is_symlink()]
    if there and not ask:
        say(
            f"openai-proxy: {directory / there[0]} already exists, and init overwrites nothing; "
            f"put a provider's key into {env_file}, or see `openai-proxy serve --help`",
            err=True,
        )
        return 1
    chosen: ChosenProvider | None = None
    if ask:
        from openai_proxy.cli.first_provider import choose

        if there:
            say(f"{directory} already exists and is not changed; you can add a provider.")
        chosen = choose()
    try:
        if not there:
            _write(directory, wanted)
            say(f"Wrote {len(wanted)} files to {directory}.")
        if chosen is not None:
            chosen.write(directory, env_file)
    except OSError as error:
        complain(f"{error.filename or directory}: {error.strerror}")
        return 1
    _report_paths(directory, env_file)
    return 0


def _write(directory: Path, wanted: dict[str, bytes]) -> None:
    for name, content in wanted.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(content)


def _report_paths(directory: Path, env_file: Path) -> None:
    """Print the addresses for the most common clients, and the next step."""
    from openai_proxy import addresses
    from openai_proxy.cli.offline import snapshot_of
    from openai_proxy.config.problems import ConfigError

    try:
        snapshot = snapshot_of(directory, env_file)
        host, port = snapshot.proxy.host, snapshot.proxy.port
    except ConfigError:
        host, port = "0.0.0.0", 8000  # noqa: S104 - printed, not bound; `serve` will say what is wrong
    url = addresses.urls([host], port)[0]
    flags = "" if directory == Path("conf") else f" --config-dir {directory}"
    flags += "" if env_file == Path(".env") else f" --env-file {env_file}"
    say(f"Start it:        openai-proxy serve{flags}")
    say(f"Home Assistant:  {url}/v1   (integration llama.cpp)")
    say(f"Open WebUI:      {url}/v1   (connection of type OpenAI API)")
    say(f"Claude Code:     ANTHROPIC_BASE_URL={url}")
    say("`openai-proxy connect` prints complete settings for these and other clients.")

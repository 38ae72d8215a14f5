"""`openai-proxy init DIR`: write a commented starter conf/."""

from pathlib import Path

import click

STARTER = Path(__file__).parent.parent / "config" / "starter"
SCHEMAS = Path(__file__).parent.parent / "config" / "schemas"


def starter_files() -> dict[str, bytes]:
    """Path below conf/ -> content of every file `init` writes: the starter and, in `.schemas/`, what editors read."""
    found = {
        path.relative_to(STARTER).as_posix(): path.read_bytes()
        for path in sorted(STARTER.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    found |= {f".schemas/{path.name}": path.read_bytes() for path in sorted(SCHEMAS.glob("*.json"))}
    return found


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path), required=False)
@click.option("--config-dir", type=click.Path(path_type=Path), default=Path("conf"), help="The same as DIRECTORY.")
def command(directory: Path | None, config_dir: Path) -> int:
    """Write a commented starter configuration into DIRECTORY (default: conf). Nothing is ever overwritten."""
    directory = directory or config_dir
    wanted = starter_files()
    there = [name for name in wanted if (directory / name).exists() or (directory / name).is_symlink()]
    if there:
        click.echo(f"openai-proxy: {directory / there[0]} is already there; init overwrites nothing", err=True)
        return 1
    try:
        for name, content in wanted.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
    except OSError as error:
        click.echo(f"openai-proxy: {directory}: {error.strerror}", err=True)
        return 1
    click.echo(f"Wrote {len(wanted)} files. Next: openai-proxy serve --config-dir {directory}")
    return 0

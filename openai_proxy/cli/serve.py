"""`openai-proxy serve`: run the daemon."""

from pathlib import Path
from typing import Any

import click

from openai_proxy.cli import lean
from openai_proxy.cli.options import config_dir, default_state_dir
from openai_proxy.cli.screen import complain
from openai_proxy.config.files import directory_trouble


@click.command("serve")
@config_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables; may be missing.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--logs-dir", type=click.Path(path_type=Path), default=Path("logs"), help="Where chat logs go.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where state is kept (default: beside conf/).")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
@click.option("--no-request-log", is_flag=True, help="No line on the terminal for each request.")
@click.option("--backend", help="Default connection.")
@click.option("--command-prefix", help="What in-chat commands begin with.")
@click.option("--interactive/--no-interactive", default=None, help="Confirm in-chat commands in the answer.")
@click.option("--disable-redact-api-keys-in-prompts", is_flag=True, help="Send prompts on as they are.")
@click.option("--splice/--no-splice", default=True, help="Copy pass-through bytes from socket to socket.")
def command(
    config_dir: Path,
    env_file: Path,
    logs_dir: Path,
    state_dir: Path | None,
    log_level: str,
    log_format: str,
    no_request_log: bool,
    splice: bool,
    **flags: Any,
) -> int:
    """Run the daemon until SIGTERM."""
    if (code := _wrong_directory(config_dir, env_file)) is not None:
        return code
    lean.prepare()
    from openai_proxy.daemon import serve
    from openai_proxy.records.terminal.output import configure
    from openai_proxy.runtime.state import Settings

    configure(log_level, log_format)
    if not flags.pop("disable_redact_api_keys_in_prompts"):
        redact: bool | None = None
    else:
        redact = False
    flags["redact_api_keys_in_prompts"] = redact
    settings = Settings(
        config_dir=config_dir,
        env_file=env_file,
        logs_dir=logs_dir,
        state_dir=state_dir or default_state_dir(config_dir),
        flags=flags,
        splice=splice,
        request_log=not no_request_log,
    )
    return serve(settings)


def _wrong_directory(config_dir: Path, env_file: Path) -> int | None:
    """The exit code where there is nothing to serve from `config_dir`; None to go on.

    A directory that somebody named must be one of ours, or empty. Where nobody named one and `conf` is not there, the
    environment alone may be enough; on a terminal, `init` is offered first.
    """
    named = click.get_current_context().get_parameter_source("config_dir") is click.core.ParameterSource.COMMANDLINE
    trouble = directory_trouble(config_dir, empty_is_fine=True)
    if trouble is None:
        return None
    if named or config_dir.exists():
        complain(f"{config_dir}: {trouble}")
        return 1
    from openai_proxy.cli import init

    if init.asks() and click.confirm(f"There is no configuration here ({config_dir}/). Make one now?", default=True):
        return init.run(config_dir, env_file, ask=True) or None
    return None

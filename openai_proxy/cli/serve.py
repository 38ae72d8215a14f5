"""`openai-proxy serve`: run the daemon."""

from pathlib import Path
from typing import Any

import click

from openai_proxy.cli import lean
from openai_proxy.cli.options import config_dir, state_dir
from openai_proxy.cli.screen import complain
from openai_proxy.config.files import directory_trouble


@click.command("serve")
@config_dir
@click.option("--env-file", type=click.Path(path_type=Path), default=Path(".env"), help="Variables (optional).")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--logs-dir", type=click.Path(path_type=Path), default=Path("logs"), help="Directory of the chat logs.")
@state_dir
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="For people or programs.")
@click.option("--no-request-log", is_flag=True, help="Do not log each request on the terminal.")
@click.option("--backend", help="Default connection.")
@click.option("--command-prefix", help="Prefix of in-chat commands.")
@click.option("--interactive/--no-interactive", default=None, help="Confirm in-chat commands in the answer.")
@click.option("--disable-redact-api-keys-in-prompts", is_flag=True, help="Do not remove secrets from prompts.")
@click.option("--splice/--no-splice", default=True, help="Relay pass-through bytes directly between sockets.")
def command(
    config_dir: Path,
    env_file: Path,
    logs_dir: Path,
    state_dir: Path,
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
    from openai_proxy.records.process_log.output import configure
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
        state_dir=state_dir,
        flags=flags,
        splice=splice,
        request_log=not no_request_log,
    )
    return serve(settings)


def _wrong_directory(config_dir: Path, env_file: Path) -> int | None:
    """The exit code if there is nothing to serve from `config_dir`; None to continue.

    A directory named explicitly must be a conf/, or empty. If none was named and `conf` does not exist, the environment
    alone may be enough; on a terminal, `init` is offered first.
    """
    named = click.get_current_context().get_parameter_source("config_dir") is click.core.ParameterSource.COMMANDLINE
    trouble = directory_trouble(config_dir, empty_is_fine=True)
    if trouble is None:
        return None
    if named or config_dir.exists():
        complain(f"{config_dir}: {trouble}")
        return 1
    from openai_proxy.cli import init

    if init.asks() and click.confirm(f"There is no configuration here ({config_dir}/). Create one now?", default=True):
        return init.run(config_dir, env_file, ask=True) or None
    return None

"""What `openai-proxy check` finds beyond the files themselves: the problems that a daemon would have with a snapshot.

Tools are imported, templates and definitions resolved, loggers created and the key validator loaded, as at a start;
nothing is connected and nothing remains. `would_be` is the same for an edit that has not been saved.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from openai_proxy.config import files
from openai_proxy.config.load import load
from openai_proxy.config.problems import ConfigError, Problem
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import Settings
from openai_proxy.runtime.template_warnings import template_warnings
from openai_proxy.secrets import vault


def would_be(
    settings: Settings, present: Generation, changes: Mapping[Path, bytes | None], *, run: bool = False
) -> tuple[Problem, ...]:
    """The problems this daemon would have if the files of `changes` had these contents (None: if they were deleted).

    The owner's Python is compiled, and with `run` also run, as a reload would. Nothing is written, learnt or connected.
    Blocks.
    """
    with files.changed(changes), vault.trying():
        try:
            snapshot = load(settings.config_dir, settings.env_file, os.environ, settings.flags, present.snapshot)
        except ConfigError as error:
            return error.problems
        found = [*snapshot.problems, *_python(changes)]
        if snapshot.models or snapshot.has_tools or present.augmented is not None:
            found += _augmented(snapshot, present, run=run)
        if run:
            found += [*loggers(snapshot), *validator(snapshot)]
    return tuple(found)


def _augmented(snapshot: Snapshot, present: Generation, *, run: bool) -> tuple[Problem, ...]:
    """Problems of models and tools, with the handlers that are loaded now unless files may be `run`."""
    from openai_proxy.runtime import augmented_models
    from openai_proxy.tools import custom
    from openai_proxy.tools.mcp.supervisor import Supervisor

    loaded = present.augmented.custom if present.augmented is not None else None
    if run or loaded is None:
        loaded = augmented_models.load_tools(snapshot, loaded) if run else custom.load(())
    return augmented_models.build(snapshot, loaded, Supervisor(), augmented_models.SharedResources(), present).problems


def _python(changes: Mapping[Path, bytes | None]) -> Iterator[Problem]:
    """Files that are not valid Python."""
    for path, data in changes.items():
        if data is None or path.suffix != ".py":
            continue
        try:
            compile(data, str(path), "exec")
        except (SyntaxError, ValueError) as error:
            place = (getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1)
            yield Problem(str(path), *place, f"not valid Python: {getattr(error, 'msg', error)}")


def models(snapshot: Snapshot) -> tuple[Problem, ...]:
    """Unknown tools, invalid definitions, templates that call unknown tools, tool files that fail.

    Templates that are probably mistakes are warnings.
    """
    if not (snapshot.models or snapshot.has_tools):
        return ()
    from openai_proxy.runtime import augmented_models
    from openai_proxy.tools.mcp.supervisor import Supervisor

    tools = augmented_models.load_tools(snapshot, None)
    augmented = augmented_models.build(snapshot, tools, Supervisor(), augmented_models.SharedResources())
    return (*augmented.problems, *template_warnings(snapshot, augmented))


def loggers(snapshot: Snapshot) -> Iterator[Problem]:
    """Classes of `loggers:` that cannot be used, and invalid paths."""
    config = snapshot.proxy
    if not config.loggers:
        return
    from openai_proxy.records.custom_loggers.logger_threads import Feeds
    from openai_proxy.records.writing.scrub import Scrubber

    with tempfile.TemporaryDirectory() as folder:
        feeds = Feeds(Path(folder), Scrubber(vault))
        lines = feeds.configure(config.loggers, snapshot.config_dir)
        feeds.close()
    for line in lines:
        number = re.match(r"loggers\[(\d+)\]", line)
        yield Problem(*snapshot.place("proxy", None, ("loggers", int(number[1])) if number else ("loggers",)), line)


def validator(snapshot: Snapshot) -> Iterator[Problem]:
    """A `check_api_key` that does not exist."""
    dotted = snapshot.proxy.check_api_key
    if dotted is None:
        return
    from openai_proxy.auth import validators

    _, trouble = validators.load(dotted, snapshot.config_dir, None)
    if trouble is not None:
        yield Problem(*snapshot.place("proxy", None, ("check_api_key",)), vault.scrub(trouble))

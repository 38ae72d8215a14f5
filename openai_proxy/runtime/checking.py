"""What `openai-proxy check` finds beyond the files: the problems a daemon would have bringing a snapshot to life.

Tools are imported, templates and definitions looked up, loggers made and the key validator found, as at a start;
nothing is connected and nothing stays.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from openai_proxy.config.problems import Problem
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.secrets import vault


def models(snapshot: Snapshot) -> tuple[Problem, ...]:
    """Unknown tools, definitions that are none, templates that call what nobody has, tool files that fail."""
    if not (snapshot.models or snapshot.tool_files):
        return ()
    from openai_proxy.runtime import augmented_models
    from openai_proxy.tools.mcp.supervisor import Supervisor

    tools = augmented_models.load_tools(snapshot, None)
    return augmented_models.build(snapshot, tools, Supervisor(), augmented_models.Workshop()).problems


def loggers(snapshot: Snapshot) -> Iterator[Problem]:
    """Classes of `loggers:` that cannot be used, and paths that reach nothing."""
    config = snapshot.proxy
    if not config.loggers:
        return
    from openai_proxy.records.loggers.logger_threads import Feeds
    from openai_proxy.records.writing.scrub import Scrubber

    with tempfile.TemporaryDirectory() as folder:
        feeds = Feeds(Path(folder), Scrubber(vault))
        lines = feeds.configure(config.loggers, snapshot.config_dir)
        feeds.close()
    for line in lines:
        number = re.match(r"loggers\[(\d+)\]", line)
        yield Problem(*snapshot.place("proxy", None, ("loggers", int(number[1])) if number else ("loggers",)), line)


def validator(snapshot: Snapshot) -> Iterator[Problem]:
    """A `check_api_key` that is not there."""
    dotted = snapshot.proxy.check_api_key
    if dotted is None:
        return
    from openai_proxy.auth import validators

    _, trouble = validators.load(dotted, snapshot.config_dir, None)
    if trouble is not None:
        yield Problem(*snapshot.place("proxy", None, ("check_api_key",)), vault.scrub(trouble))

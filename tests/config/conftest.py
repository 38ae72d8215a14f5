"""A separate configuration directory for each test, and a short way to load it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from openai_proxy.config.load import load
from openai_proxy.config.snapshot import Snapshot


class ConfigDirectory:
    """conf/ in a temporary directory. `write` puts files into it, `load` reads it as the daemon does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.conf = root / "conf"
        self.conf.mkdir()
        self.environ: dict[str, str] = {}
        self.flags: dict[str, object] = {}

    def write(self, name: str, text: str | bytes) -> Path:
        """Write `text` to conf/`name` (or to .env) and return its path."""
        path = self.root / name if name == ".env" else self.conf / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def load(self, previous: Snapshot | None = None, **environ: str) -> Snapshot:
        """The snapshot of the files, with `environ` in addition to the default environment."""
        merged: Mapping[str, str] = {**self.environ, **environ}
        return load(self.conf, self.root / ".env", merged, self.flags, previous)


@pytest.fixture
def config_directory(tmp_path: Path) -> ConfigDirectory:
    """An empty configuration."""
    return ConfigDirectory(tmp_path)

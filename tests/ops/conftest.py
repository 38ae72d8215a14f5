"""`make install` takes a minute or two: it is begun with the run and waited for where its result is needed."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Installation:
    """`make install` into a staging directory, in a process group of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="openai-proxy-stage-"))
        self.root = self.folder / "root"
        with (self.folder / "output").open("wb") as output:
            self._make = subprocess.Popen(
                ["make", "install", f"DESTDIR={self.root}"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self) -> Path:
        """The staging directory, once everything is in it."""
        code = self._make.wait(380)
        assert code == 0, (self.folder / "output").read_text(errors="replace")[-3000:]
        return self.root

    def remove(self) -> None:
        """End it if it still runs, and leave nothing behind."""
        if self._make.poll() is None:
            os.killpg(self._make.pid, signal.SIGTERM)
            self._make.wait(30)
        shutil.rmtree(self.folder)


INSTALLATION = pytest.StashKey[Installation]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin it if its tests are going to run."""
    wanted = any(item.path.name == "test_install.py" for item in session.items)
    if wanted and not session.config.option.collectonly and shutil.which("make") is not None:
        session.config.stash[INSTALLATION] = Installation()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Whatever the tests came to."""
    if (installation := session.config.stash.get(INSTALLATION, None)) is not None:
        installation.remove()


@pytest.fixture(scope="session")
def staged(pytestconfig: pytest.Config) -> Path:
    """What `make install` made."""
    return pytestconfig.stash[INSTALLATION].wait()

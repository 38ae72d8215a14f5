"""`make install`, once for all tests of it: it takes a minute or two."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A staging directory after `make install`, compiled without optimisation: that takes half as long."""
    folder = tmp_path_factory.mktemp("stage")
    compiler = folder / "cc"
    compiler.write_text('#!/bin/sh\nexec cc "$@" -O0\n')
    compiler.chmod(0o755)
    with (folder / "output").open("wb") as output:
        make = subprocess.Popen(
            ["make", "install", f"DESTDIR={folder / 'root'}"],
            cwd=ROOT,
            env=os.environ | ({} if shutil.which("cc") is None else {"CC": str(compiler)}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        code = make.wait(580)
    except BaseException:
        os.killpg(make.pid, signal.SIGTERM)
        make.wait(30)
        raise
    assert code == 0, (folder / "output").read_text(errors="replace")[-3000:]
    yield folder / "root"
    shutil.rmtree(folder)

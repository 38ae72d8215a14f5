"""npm packages for tests: installed once per lock file into a cache directory, skipped where there is no npm."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

NPM = Path(__file__).parent.parent / "npm"


def installed(name: str) -> Path | None:
    """The `node_modules` of `tests/npm/NAME`, installed as in its lock file; None without npm or network."""
    npm, source = shutil.which("npm"), NPM / name
    if npm is None:
        return None
    digest = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openai-proxy-tests"
    target = cache / f"{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two concurrent test runs only one installs
        if not (target / ".done").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for file in ("package.json", "package-lock.json"):
                shutil.copy(source / file, target)
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            try:
                subprocess.run(command, cwd=target, check=True, capture_output=True, timeout=300)
            except (subprocess.SubprocessError, OSError):
                return None
            (target / ".done").touch()
    return target / "node_modules"

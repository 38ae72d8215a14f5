"""Python programs that tests use from outside: each in its own virtual environment, created once per lock file."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


def interpreter(lock: Path) -> Path | None:
    """A Python with exactly the packages in `lock` (with hashes); None if that fails, as without network."""
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openai-proxy-tests"
    target = cache / f"{lock.stem}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{lock.stem}.venv.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # of two concurrent test runs only one installs
        if not (target / ".done").exists():
            shutil.rmtree(target, ignore_errors=True)
            python = str(target / "bin" / "python")
            options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--require-hashes"]
            try:
                subprocess.run(
                    [sys.executable, "-m", "venv", str(target)], check=True, capture_output=True, timeout=120
                )
                command = [python, "-m", "pip", "install", *options, "--only-binary", ":all:", "-r", str(lock)]
                subprocess.run(command, check=True, capture_output=True, timeout=300)
            except (subprocess.SubprocessError, OSError):
                return None
            (target / ".done").touch()
    return target / "bin" / "python"

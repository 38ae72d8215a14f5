"""Builds the library: mypyc turns the modules into C (https://mypyc.readthedocs.io), setuptools calls the compiler."""

import importlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from openai_proxy.compiled import GROUP, MODULES, PACKAGE, library, sources, use
from openai_proxy.import_path import import_path

OPTIONS = ("--config-file=", "--follow-imports=skip", "--ignore-missing-imports", "--cache-dir=/dev/null")
"""Types are checked elsewhere (`make check`). Modules that are not compiled are plain objects to compiled code, so they
need not be read: 1 second instead of 27.
"""

FLAGS = ("-O2", "-fvisibility=hidden", "-ffunction-sections", "-fno-asynchronous-unwind-tables")
"""-Os saves 0.5 MB of memory and takes 7 % more instructions per request: the smallest helpers become calls."""

LINK = ("-Wl,-dead_strip",) if sys.platform == "darwin" else ("-Wl,--gc-sections", "-s")
"""Leave out unused code: Apple's linker and GNU's."""


def obstacle() -> str | None:
    """What this machine lacks for a build, apart from Python packages; None if nothing."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]  # as setuptools does
    if shutil.which(compiler) is None:
        return f"there is no C compiler {compiler} (Debian, Ubuntu: apt install gcc python3-dev)"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers are not installed (Debian, Ubuntu: apt install python3-dev)"
    return None


def build() -> str | None:
    """Build the library of the present sources, unless it exists. Returns None, or why there is none, in one sentence.

    It is built in a temporary directory and moved in one step: a daemon that starts meanwhile sees a whole library, or
    none.
    """
    try:
        target = library()
    except OSError as error:
        return f"{error.filename} cannot be read"
    if target.exists() and _load() is None:
        return None
    missing = [name for name in ("mypyc", "setuptools") if importlib.util.find_spec(name) is None]
    if (why := obstacle()) is not None:
        return why
    if missing:
        return f"{missing[0]} is not installed"
    if not os.access(target.parent, os.W_OK):
        return f"{target.parent} is read-only"
    sys.stderr.write("compiling the modules on every request's path: about a minute, once\n")
    try:
        with tempfile.TemporaryDirectory(prefix="openai-proxy-", ignore_cleanup_errors=True) as directory:
            if (why := _in_a_child(directory)) is not None:
                return why
            if library() != target:
                return "the sources were edited meanwhile"
            _put(Path(directory, target.name), target)
    except OSError as error:
        return f"{error.filename or target.parent}: {error.strerror}"
    use()
    return _load()


def _load() -> str | None:
    """Load the library, as the finder would. Returns None, or why it cannot be loaded."""
    try:
        importlib.import_module(GROUP)
    except ImportError as error:
        return str(error)
    return None


def _in_a_child(directory: str) -> str | None:
    """Compile in a separate process: mypyc and compilers need memory and print much. Returns None, or why it failed."""
    environ = os.environ | import_path(os.environ) | {"LC_ALL": "C"}  # all of it: compilers have variables of their own
    environ.pop("MYPYPATH", None)
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-u", "-m", __spec__.name, directory],  # unbuffered: the last line is really the last
        cwd=directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    errors = [line for line in lines if "error: " in line]  # mypy's, gcc's, clang's; the first causes the others
    return errors[0] if errors else lines[-1] if lines else f"the compiler ended with {done.returncode}"


def _put(built: Path, target: Path) -> None:
    """Move the library into place in one step, and remove those of older sources for this Python."""
    handle, unfinished = tempfile.mkstemp(prefix="hot-", suffix=".unfinished", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(built.read_bytes())
            out.flush()
            os.fsync(handle)  # a power cut must not leave the name without the bytes
        Path(unfinished).chmod(0o755)
        Path(unfinished).replace(target)
    except BaseException:
        Path(unfinished).unlink()
        raise
    for old in target.parent.glob(f"hot-*{EXTENSION_SUFFIXES[0]}"):
        if old != target:
            old.unlink(missing_ok=True)


def _compile(directory: str) -> None:
    """Build the library of the present sources in `directory`, the current one, under its final name.

    Raises whatever mypyc and setuptools raise, and prints what they print.
    """
    from mypyc.build import mypycify
    from setuptools import Distribution, Extension

    # Module names follow from paths, and tracebacks show them: relative to this directory, they reveal no path of the
    # machine. And mypy does not recognise its own modules in its working directory, which could be site-packages.
    paths = []
    for source in sources():
        path = source.relative_to(PACKAGE.parent)
        paths.append(str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        for package in path.parents[:-1]:
            (package / "__init__.py").touch()
        path.write_bytes(source.read_bytes())
    group = mypycify(
        [*OPTIONS, *paths], group_name=GROUP.removesuffix("__mypyc"), target_dir=directory, debug_level="0"
    )
    (made,) = (extension for extension in group if extension.name == GROUP)
    entrances = Path(directory, "entrances.c")
    entrances.write_text(_entrances())
    extension = Extension(
        "hot",
        sources=[*made.sources, str(entrances)],
        include_dirs=made.include_dirs,
        extra_compile_args=[*made.extra_compile_args, *FLAGS],
        extra_link_args=list(LINK),
    )
    command: Any = Distribution({"ext_modules": [extension]}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = directory
    command.ensure_finalized()
    command.run()
    Path(command.get_ext_fullpath("hot")).replace(Path(directory, library().name))


def _entrances() -> str:
    """C that lets Python's own loader find each module in the one library: PyInit_ and the last part of its name."""
    lines = ["#include <Python.h>", f'#define READY PyImport_ImportModule("{GROUP}")']
    for name in MODULES:
        inside = f"CPyInit_openai_proxy___{name.replace('.', '___')}"
        lines.append(f"extern PyObject *{inside}(void);")
        lines.append(f"PyMODINIT_FUNC PyInit_{name.rpartition('.')[2]}(void) {{ return READY ? {inside}() : NULL; }}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    _compile(sys.argv[1])

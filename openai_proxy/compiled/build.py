"""Makes the library: mypyc turns the modules into C (https://mypyc.readthedocs.io), setuptools calls the compiler."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from openai_proxy.compiled import GROUP, MODULES, PACKAGE, library, sources

OPTIONS = ("--config-file=", "--follow-imports=skip", "--ignore-missing-imports", "--cache-dir=/dev/null")
"""Types are checked elsewhere (`make check`). What is not compiled is an object like any other to the compiled, so
nothing of it need be read: 1 second instead of 27."""

FLAGS = ("-O2", "-fvisibility=hidden", "-ffunction-sections", "-fno-asynchronous-unwind-tables")
"""Small: 0.67 MB resident instead of 1.05, and as quick, for what a request needs of it fits the caches."""


def build() -> int:
    """Build the library of the present sources, unless it is there; an exit status. Says what it does on stderr."""
    target = library()
    if target.exists():
        return 0
    try:
        from mypyc.build import mypycify
        from setuptools import Distribution, Extension
    except ImportError as error:
        return _left_out(f"{error.name} is not installed")
    print("compiling the hot path: half a minute, once", file=sys.stderr)
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="openai-proxy-") as directory:
        os.chdir(PACKAGE.parent)  # so that module names follow from paths, and tracebacks name no machine's directories
        try:
            paths = [str(source.relative_to(PACKAGE.parent)) for source in sources()]
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
                extra_link_args=["-Wl,--gc-sections"],
            )
            command: Any = Distribution({"ext_modules": [extension]}).get_command_obj("build_ext")
            command.build_lib = command.build_temp = directory
            command.ensure_finalized()
            command.run()
            built = Path(command.get_ext_fullpath("hot"))
        except (Exception, SystemExit) as error:
            return _left_out(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__)
        finally:
            os.chdir(before)
        for old in target.parent.glob("hot-*.so"):
            old.unlink()
        unfinished = target.with_suffix(".unfinished")
        unfinished.write_bytes(built.read_bytes())
        unfinished.chmod(0o755)
        unfinished.replace(target)  # a daemon that starts meanwhile sees a whole library, or none
    return 0


def _left_out(why: str) -> int:
    print(f"not compiled, so plain requests take half as long again ({why})", file=sys.stderr)
    return 0


def _entrances() -> str:
    """C that lets Python's own loader find each module in the one library: PyInit_ and the last part of its name."""
    lines = ["#include <Python.h>", f'#define READY PyImport_ImportModule("{GROUP}")']
    for name in MODULES:
        inside = f"CPyInit_openai_proxy___{name.replace('.', '___')}"
        lines.append(f"extern PyObject *{inside}(void);")
        lines.append(f"PyMODINIT_FUNC PyInit_{name.rpartition('.')[2]}(void) {{ return READY ? {inside}() : NULL; }}")
    return "\n".join(lines) + "\n"

"""Two build steps that pyproject.toml cannot express: the page, if Node is installed, and the compiled modules, if
`OPENAI_PROXY_COMPILE=1` is set (docs/compiled.md). Everything works without them; a step that is skipped says why."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent))  # a build does not search here on its own

from openai_proxy.compiled.build import obstacle
from openai_proxy.import_path import import_path

ASKED = os.environ.get("OPENAI_PROXY_COMPILE", "0") not in ("", "0")
"""Off by default: an installation takes seconds, but a minute with mypyc and a compiler."""


class BuildPy(build_py):
    """Python files, the page beside them, and the library of the compiled modules."""

    def run(self) -> None:
        subprocess.run([sys.executable, str(Path("openai_proxy", "admin", "page_build.py"))], check=False)  # noqa: S603
        super().run()
        if ASKED and not self.editable_mode:  # in a checkout `make compiled` does this
            built = Path(self.build_lib).absolute()
            compiler = [sys.executable, "-m", "openai_proxy.compiled"]
            subprocess.run(compiler, cwd=built, env=os.environ | import_path(os.environ, built), check=False)  # noqa: S603


class MaybeCompiled(Distribution):
    """Gives the wheel the tags of this Python and platform if the modules can be compiled."""

    def has_ext_modules(self) -> bool:
        return ASKED and obstacle() is None and importlib.util.find_spec("mypyc") is not None


setup(
    cmdclass={"build_py": BuildPy},
    distclass=MaybeCompiled,
    setup_requires=["mypy[mypyc]>=1.15"] if ASKED and obstacle() is None else [],  # fetched for isolated builds only
)

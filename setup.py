"""The one step of a build that pyproject.toml cannot say: the page is built first, where Node is."""

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Python files, and the page beside them."""

    def run(self) -> None:
        subprocess.run([sys.executable, str(Path("openai_proxy", "admin", "page_build.py"))], check=False)  # noqa: S603
        super().run()


setup(cmdclass={"build_py": BuildPy})

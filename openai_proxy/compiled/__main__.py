"""`python -m openai_proxy.compiled`: build the library. Needs mypy, setuptools, a C compiler and Python's headers."""

import sys

from openai_proxy.compiled.build import build

sys.exit(build())

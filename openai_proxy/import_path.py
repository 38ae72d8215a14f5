"""Where a child process that runs this package again finds it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_INSTALLED: Final = Path(__file__).parents[1]


def import_path(environ: Mapping[str, str], folder: Path = _INSTALLED) -> dict[str, str]:
    """The child's PYTHONPATH: `folder`, which contains the package, before what `environ` has."""
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [environ.get("PYTHONPATH")])])}

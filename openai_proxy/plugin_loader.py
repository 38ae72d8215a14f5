"""The owner's own Python, by dotted path: in a file under conf/ if there is one, else on sys.path.

Validators, loggers and local backends are named in proxy.yaml; each is looked up by this one rule.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def file_of(dotted: str, config_dir: Path | None) -> Path | None:
    """The file under conf/ that holds the module of `dotted` (`module.name`), if there is one."""
    if config_dir is None:
        return None
    module = config_dir.joinpath(*dotted.rpartition(".")[0].split("."))
    for path in (module.with_name(f"{module.name}.py"), module / "__init__.py"):
        if path.is_file():
            return path
    return None


def find(dotted: str, config_dir: Path | None) -> Any:
    """The object called `dotted`. A file under conf/ is run anew at every call.

    Blocks: not for the event loop. Raises ImportError, AttributeError and whatever the module itself raises.
    """
    name, _, attribute = dotted.rpartition(".")
    if not name:
        raise ImportError(f'"{dotted}" is no dotted path: write module.name')
    path = file_of(dotted, config_dir)
    module: ModuleType
    if path is None:
        module = importlib.import_module(name)
    else:
        private = f"openai_proxy_conf.{name}"  # a name of its own: conf/json.py must not replace the library's
        spec = importlib.util.spec_from_file_location(private, path)
        if spec is None:
            raise ImportError(f"{path.name} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        before = sys.modules.get(private)
        sys.modules[private] = module
        try:
            # Not by the loader: its bytecode cache takes two edits within a second for one.
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - the owner's own code
        except BaseException:
            sys.modules.pop(private, None)
            if before is not None:
                sys.modules[private] = before
            raise
    found = getattr(module, attribute, None)
    if found is None:
        raise AttributeError(f"{name} has no {attribute}")
    return found

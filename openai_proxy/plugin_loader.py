"""The owner's own Python, by dotted path: from a file under conf/ if there is one, else from sys.path.

Validators, loggers and local backends named in proxy.yaml are all found this way.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def failure(error: BaseException) -> str:
    """Why the owner's Python could not be loaded, in words: `error` was raised by `find` or by the module itself."""
    if isinstance(error, ModuleNotFoundError):
        missing = str(error.name or "").partition(".")[0]
        return f"there is no Python module {missing} in conf/ or among the installed ones"
    if isinstance(error, SyntaxError):
        return f"line {error.lineno} is not valid Python ({error.msg})"
    if isinstance(error, ImportError | NameMissing):
        return str(error)
    return f"its code failed: {describe(error)}"


def describe(error: BaseException) -> str:
    """An exception in one line: its message and type, or only its type if it has no message."""
    try:
        text = str(error).strip()
    except Exception:  # even a __str__ that raises must not hide the rest
        text = ""
    kind = type(error).__name__
    if isinstance(error, RecursionError):
        return "endless recursion"
    if isinstance(error, SystemExit):
        return "it tried to end the process"
    return f"{kind}: {text}" if text else kind


class NameMissing(LookupError):
    """A module lacks the requested name. The text is for the owner."""


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
    """The object called `dotted`. A file under conf/ is run anew on every call.

    Blocks: not for the event loop. Raises ImportError, NameMissing and whatever the module itself raises.
    """
    name, _, attribute = dotted.rpartition(".")
    if not name:
        raise ImportError(f'"{dotted}" is not a dotted path: write module.name')
    path = file_of(dotted, config_dir)
    module: ModuleType
    if path is None:
        module = importlib.import_module(name)
    else:
        private = f"openai_proxy_conf.{name}"  # a private name: conf/json.py must not replace the standard library's
        spec = importlib.util.spec_from_file_location(private, path)
        if spec is None:
            raise ImportError(f"{path.name} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        before = sys.modules.get(private)
        sys.modules[private] = module
        try:
            # Not with the loader: its bytecode cache misses a second edit within the same second.
            exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - the owner's own code
        except BaseException:
            sys.modules.pop(private, None)
            if before is not None:
                sys.modules[private] = before
            raise
    found = getattr(module, attribute, None)
    if found is None:
        raise NameMissing(f"the module {name} has no {attribute}")
    return found

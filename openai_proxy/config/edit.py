"""Changes one value of conf/proxy.yaml the way a person would: comments, order, anchors and quotes are kept.

Used for chat commands that change the whole installation (contract section 5), and for keys created or revoked on the
page. The change takes effect by the usual reload.
"""

import contextlib
import io
import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path
from typing import Any

from openai_proxy.config import files
from openai_proxy.config.problems import ConfigError, Problem
from openai_proxy.config.yaml_text import BrokenYaml, parse
from openai_proxy.globs import is_glob

Keys = Sequence[str | int]
"""The path to a member; a number is an index in a list."""

Put = Mapping[tuple[str, ...], Any]
Append = Mapping[tuple[str, ...], tuple[str, str]]
"""Texts to append to lists, each with its comment (or "")."""


def change(path: Path, put: Put, take_out: Sequence[Keys] = ()) -> bool:
    """Change the YAML file at `path` in one write, creating it if necessary. True if it differs now.

    Members are named by their path of keys (`("routing", "fast")`); missing mappings on the way are created. Raises
    ConfigError if the file cannot be read or written, is broken, or has something else than a mapping on the way; it is
    then unchanged.
    """
    try:
        before = files.read(path) or b""
    except files.Unreadable as error:
        raise _refuse(path, str(error)) from None
    after = edited(path, before, put, take_out)
    if after == before:
        return False
    write(path, after)
    return True


def edited(path: Path, before: bytes, put: Put, take_out: Sequence[Keys] = (), append: Append | None = None) -> bytes:
    """`before`, the content of `path`, with some changes made; nothing is written.

    Raises ConfigError if it is broken, has something else than a mapping on the way, or cannot be edited without losing
    comments.
    """
    node = parse(before, str(path))
    if isinstance(node, BrokenYaml):
        raise ConfigError(node.problems)
    # The round-trip half of ruamel.yaml is only needed for writing, which most daemons never do.
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import YAMLError

    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096  # the owner's long lines are not folded
    yaml.indent(mapping=2, sequence=_sequence_indent(before), offset=_sequence_indent(before) - 2)
    text = before.decode("utf-8-sig")
    try:
        data = yaml.load(text)
    except (YAMLError, ValueError):
        raise _refuse(path, "cannot be edited here: its comments could not be kept; edit it by hand") from None
    only_comments = data is None
    if only_comments:
        data = CommentedMap()
    if not isinstance(data, dict):
        raise _refuse(path, "expected a mapping (key: value)")
    untouched = "" if only_comments else _dump(yaml, data)
    changed = False
    for way in take_out:
        changed |= _take_out(data, way)
    for keys, value in put.items():
        changed |= _put(path, data, keys, value, CommentedMap)
    for keys, (item, comment) in (append or {}).items():
        changed |= _append(path, data, keys, item, comment)
    if not changed:
        return before
    result = _dump(yaml, data)
    if only_comments:
        # A file of nothing but comments has no node to attach them to.
        result = text + ("\n" if text and not text.endswith("\n") else "") + result
    again = parse(result.encode(), str(path))
    if isinstance(again, BrokenYaml):
        raise _refuse(path, f"cannot be edited: the result would be broken ({again.problems[0].message})")
    if not only_comments and (patched := _patch(text, untouched, result)) is not None:
        whole = parse(patched.encode(), str(path))
        if not isinstance(whole, BrokenYaml) and whole.value == again.value:
            result = patched
    return result.encode()


def writable(path: Path) -> bool:
    """True if `change` could write `path`: checked before a command promises anything."""
    directory_is = os.access(path.parent, os.W_OK | os.X_OK)
    return directory_is and (not path.exists() or os.access(path, os.W_OK))


def _refuse(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(str(path), 1, 1, message)])


def _dump(yaml: Any, data: Any) -> str:
    out = io.StringIO()
    yaml.dump(data, out)
    return out.getvalue()


def _patch(text: str, untouched: str, changed: str) -> str | None:
    """Apply the difference between `untouched` and `changed` to `text`; None if it cannot be located there.

    ruamel.yaml keeps every comment but not every space, and moves some comments to another line. So its two renderings,
    before and after, only show which lines differ; all others stay byte for byte as the owner wrote them.
    """
    own, before, after = (part.splitlines(keepends=True) for part in (text, untouched, changed))
    where: dict[int, int] = {}
    for i, j, size in SequenceMatcher(None, own, before, autojunk=False).get_matching_blocks():
        where.update((j + k, i + k) for k in range(size))
    for tag, a1, a2, b1, b2 in reversed(SequenceMatcher(None, before, after, autojunk=False).get_opcodes()):
        if tag == "equal":
            continue
        if a1 == a2:
            start = where.get(a1 - 1, -1) + 1
            stop = start
            if a1 > 0 and a1 - 1 not in where:
                return None
        elif all(line in where for line in range(a1, a2)):
            start, stop = where[a1], where[a2 - 1] + 1
        else:
            return None
        if start > 0 and not own[start - 1].endswith("\n"):
            own[start - 1] += "\n"
        own[start:stop] = after[b1:b2]
    return "".join(own)


def _sequence_indent(data: bytes) -> int:
    """4 if the owner's block lists are indented below their key, else 2."""
    lines = [line for line in data.split(b"\n") if line.strip() and not line.lstrip().startswith(b"#")]
    for above, line in pairwise(lines):
        if line.lstrip().startswith(b"- ") and above.rstrip().endswith(b":"):
            indent = (len(line) - len(line.lstrip())) - (len(above) - len(above.lstrip()))
            return 4 if indent >= 2 else 2
    return 4


def _take_out(data: Any, keys: Keys) -> bool:
    for key in keys[:-1]:
        data = data.get(key) if isinstance(data, dict) else None
    last = keys[-1]
    if isinstance(data, list):
        there = isinstance(last, int) and last < len(data)
    else:
        there = isinstance(data, dict) and last in data
    if there:
        del data[last]
    return there


def _append(path: Path, data: Any, keys: tuple[str, ...], item: str, comment: str) -> bool:
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    known = data
    for key in keys:
        known = known.get(key) if isinstance(known, dict) else None
    if not isinstance(known, list):
        if known is not None:
            raise _refuse(path, f'"{keys[-1]}" is not a list, so nothing can be added to it')
        known = CommentedSeq()
        _put(path, data, keys, known, CommentedMap)
    known.append(item)
    if isinstance(known, CommentedSeq):
        known.fa.set_block_style()
        if comment:
            known.yaml_add_eol_comment(comment, len(known) - 1, column=0)
    return True


def _put(path: Path, data: Any, keys: Sequence[str], value: Any, mapping: type) -> bool:
    for key in keys[:-1]:
        inner = data.get(key)
        if inner is None:
            inner = data[key] = mapping()
        if not isinstance(inner, dict):
            raise _refuse(path, f'"{key}" is not a mapping, so nothing can be set in it')
        data = inner
    if keys[-1] in data and data[keys[-1]] == value and type(data[keys[-1]]) is type(value):
        return False
    if tuple(keys[:-1]) == ("routing",) and keys[-1] not in data and not is_glob(keys[-1]):
        # The first match wins, so an exact name goes before the patterns that would match it.
        position = next((index for index, key in enumerate(data) if is_glob(str(key))), len(data))
        data.insert(position, keys[-1], value)
        return True
    data[keys[-1]] = value
    return True


def write(path: Path, data: bytes) -> None:
    """Replace the file atomically and durably, with its mode and (if allowed) owner; a symbolic link stays one.

    Raises ConfigError if it cannot be written; it is then unchanged.
    """
    target = path.resolve()
    try:
        try:
            status = target.stat()
            mode = stat.S_IMODE(status.st_mode)
        except FileNotFoundError:
            status, mode = None, 0o600
        if status is not None and not os.access(target, os.W_OK):
            raise PermissionError
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), mode)
                if status is not None:
                    with contextlib.suppress(PermissionError):
                        os.fchown(file.fileno(), status.st_uid, status.st_gid)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _refuse(path, f"cannot be written: {(error.strerror or 'permission denied').lower()}") from None

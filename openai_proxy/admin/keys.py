"""Groups, their keys, limits and spending: `/admin/groups`, `/admin/keys`.

A key is identified by the first twelve hex digits of its SHA-256, as everywhere, and named by the comment beside it in
proxy.yaml. Keys are created and revoked by editing that file the way the editor does: checked, in one write, with the
comments kept, and with undo.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from openai_proxy.admin.call import AdminCall, text_of
from openai_proxy.admin.config_files import ConfigFiles
from openai_proxy.admin.configuration import files_of
from openai_proxy.auth.keys import hashed, new_key
from openai_proxy.config import edit
from openai_proxy.config.interpolate import MissingVariable, expand
from openai_proxy.config.yaml_text import Node, parse
from openai_proxy.errors import BadRequest, NotFound
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.secrets import key_id

FILE: Final = "proxy.yaml"
_LABEL: Final = re.compile(r"\s#\s?(.*)$")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

Way = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrittenKey:
    """A key in proxy.yaml: its list, its position there, its line, and the comment beside it."""

    id: str
    way: Way
    index: int
    line: int
    label: str
    variable: bool


def written_keys(text: bytes, variables: dict[str, str]) -> Iterator[WrittenKey]:
    """The keys of proxy.yaml, with `variables` filled in. A broken file has none."""
    node = parse(text, FILE)
    if not isinstance(node, Node) or not isinstance(node.value, dict):
        return
    groups = node.value.get("groups")
    ways: list[Way] = [("admin_api_keys",)]
    ways += [("groups", str(name), "api_keys") for name in (groups if isinstance(groups, dict) else ())]
    lines = text.decode("utf-8", "replace").splitlines()
    for way in ways:
        value: Any = node.value
        for part in way:
            value = value.get(part) if isinstance(value, dict) else None
        for index, raw in enumerate(value if isinstance(value, list) else ()):
            try:
                key = expand(str(raw), variables)
            except MissingVariable:
                continue
            line, _ = node.find((*way, index))
            yield WrittenKey(key_id(key), way, index, line, _label(lines, line, str(raw)), key != raw)


def _label(lines: list[str], line: int, raw: str) -> str:
    """The comment on a key's line, if it can only be about this key."""
    text = lines[line - 1] if line <= len(lines) else ""
    if not text.lstrip().startswith("- ") or raw not in text:
        return ""
    match = _LABEL.search(text)
    return match[1].strip() if match is not None else ""


async def list_groups(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/groups`: permissions, keys, and usage of the last thirty days."""
    state = call.state
    generation = state.generation
    data, _ = await call.thread(files_of(call).read, FILE)
    found = {key.id: key for key in written_keys(data or b"", _variables(generation))}
    elsewhere = await state.shared_usage.elsewhere(None)
    report = await call.thread(state.records.usage_report, "key,group,day", None, elsewhere)
    used = _used(report["rows"])
    config = generation.config
    return {
        "keys_required": generation.gate.keys_required,
        "currency": config.currency,
        "groups": [
            {
                "name": name,
                "keys": [
                    {**_shown(key_id(key), found, used), "budgets": _budgets(state, name, key)}
                    for key in group.api_keys
                ],
                "limits": {limit: value for limit, value in group.limits.model_dump().items() if value is not None},
                "allowed_models": list(group.allowed_models),
                "allowed_connections": list(group.allowed_connections),
                "commands": group.commands,
                "line": generation.snapshot.place("proxy", None, ("groups", name))[1],
            }
            for name, group in config.groups.items()
        ],
        "admin_keys": [_shown(key_id(key), found, used) for key in config.admin_api_keys],
    }


def _budgets(state: ProxyState, group: str, key: str) -> dict[str, dict[str, Any]]:
    """The budgets of a key: `limit`, `spent`, `reserved` and `ends`, by the name of the setting."""
    allowance = state.generation.allowances.get(group)
    if allowance is None or allowance.budget is None:
        return {}
    return state.governor.spendings.book.status(bytes.fromhex(hashed(key).removeprefix("sha256:")), allowance.budget)


def _variables(generation: Generation) -> dict[str, str]:
    environment = generation.snapshot.memory.environment
    return dict(environment.variables) if environment is not None else {}


def _used(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per key: the last day it was used, and its usage in the last thirty days and today."""
    now = time.time()
    month, today = (time.strftime("%Y-%m-%d", time.gmtime(now - days * 86400)) for days in (29, 0))
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not row["key"]:
            continue
        sums = found.setdefault(row["key"], {"last_used": "", "today": _nothing(), "month": _nothing()})
        sums["last_used"] = max(sums["last_used"], row["day"])
        for name, first in (("today", today), ("month", month)):
            if row["day"] >= first:
                for member, value in sums[name].items():
                    more = row[member]
                    sums[name][member] = value if more is None else (value or 0) + more
    return found


def _nothing() -> dict[str, Any]:
    return {"requests": 0, "input_tokens": 0, "output_tokens": 0, "cost": None}


def _shown(name: str, written: dict[str, WrittenKey], used: dict[str, dict[str, Any]]) -> dict[str, Any]:
    key = written.get(name)
    return {
        "id": name,
        "label": key.label if key is not None else "",
        "line": key.line if key is not None else None,
        "variable": key is None or key.variable,
        "revocable": key is not None,
        **(used.get(name) or {"last_used": None, "today": _nothing(), "month": _nothing()}),
    }


async def make(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/keys` with `group` (or `admin`: true) and `label`: create a key, shown only in this answer."""
    document = await call.document()
    label = " ".join(text_of(document, "label", "").replace("#", " ").split())[:60]
    if document.get("admin") is True:
        way: Way = ("admin_api_keys",)
        what = "created an admin key"
    else:
        group = text_of(document, "group")
        if not _NAME.fullmatch(group):
            raise BadRequest("A group's name consists of letters, digits, dots, - and _.", param="group")
        way = ("groups", group, "api_keys")
        what = f"created a key of {group}"
    key = new_key()
    comment = f"{label}, {time.strftime('%Y-%m-%d')}" if label else time.strftime("%Y-%m-%d")
    files = files_of(call)

    def add(before: bytes) -> bytes:
        return edit.edited(_path(files), before, {}, (), {way: (hashed(key), comment)})

    answer = await files.change(FILE, add, what)
    return {"key": key, "id": key_id(key), "hash": hashed(key), "reload": answer["reload"]}


async def revoke(call: AdminCall) -> dict[str, Any]:
    """`DELETE /admin/keys/ID`: remove a key from proxy.yaml; it is refused from the next request on."""
    (name,) = call.names
    files = files_of(call)
    variables = _variables(call.state.generation)
    gone: list[WrittenKey] = []

    def take_out(before: bytes) -> bytes:
        gone[:] = [key for key in written_keys(before, variables) if key.id == name]
        ways: list[edit.Keys] = [(*key.way, key.index) for key in sorted(gone, key=lambda key: key.index, reverse=True)]
        return edit.edited(_path(files), before, {}, ways) if ways else before

    answer = await files.change(FILE, take_out, f"revoked the key {name}")
    if not gone:
        raise NotFound(
            "The configuration has no key with this id; it may come from an environment variable.", code="key_not_found"
        )
    return {"revoked": name, "reload": answer["reload"]}


def _path(files: ConfigFiles) -> Any:
    return files.place(FILE)

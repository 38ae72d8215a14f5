"""Editing the configuration: `/admin/config…`."""

from typing import Any

import orjson

from openai_proxy.admin.call import AdminAnswer, AdminCall, text_of
from openai_proxy.admin.config_files import ConfigFiles, Conflict, DoesNotCheck, is_warning, kind_of
from openai_proxy.admin.status import iso
from openai_proxy.config import schemas
from openai_proxy.errors import BadRequest, NotFound, ProxyError


def files_of(call: AdminCall) -> ConfigFiles:
    """The editor of conf/, created on first use."""
    found = call.state.kept.get(ConfigFiles)
    if found is None:
        found = call.state.kept[ConfigFiles] = ConfigFiles(call.state)
    assert isinstance(found, ConfigFiles)
    return found


async def list_files(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/config`: the files, the problems, and the saves that can be undone."""
    files = files_of(call)
    generation = call.state.generation
    return {
        "generation": generation.number,
        "files": await call.thread(files.listing),
        "problems": [files.shown(problem) for problem in generation.problems],
        "saves": [{"id": save.id, "path": save.path, "at": iso(save.at), "what": save.what} for save in files.saves()],
    }


async def show(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/config/files/PATH`: a file's text and digest."""
    (name,) = call.names
    data, digest = await call.thread(files_of(call).read, name)
    if data is None:
        raise NotFound("There is no such file.", code="file_not_found")
    return {"path": name, "kind": kind_of(name), "text": data.decode("utf-8", "replace"), "digest": digest}


async def save(call: AdminCall) -> AdminAnswer:
    """`PUT /admin/config/files/PATH` with `text` and the `digest` of the text that was edited (null: a new file)."""
    document = await call.document()
    return await _done(call, text_of(document, "text").encode(), document.get("digest"))


async def delete(call: AdminCall) -> AdminAnswer:
    """`DELETE /admin/config/files/PATH` with `digest`."""
    document = await call.document()
    return await _done(call, None, document.get("digest") or call.argument("digest") or None)


async def check(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/config/check` with `path` and `text`: all problems that this text would have."""
    document = await call.document()
    name = text_of(document, "path")
    files = files_of(call)
    problems = await files.check({name: text_of(document, "text").encode("utf-8", "surrogatepass")})
    return {"problems": [files.shown(problem) for problem in problems]}


async def undo(call: AdminCall) -> AdminAnswer:
    """`POST /admin/config/undo` with `id`: undo a save."""
    number = (await call.document()).get("id")
    if not isinstance(number, int):
        raise BadRequest("`id` of the save to undo is missing.", param="id")
    try:
        return AdminAnswer(await files_of(call).undo(number))
    except (Conflict, DoesNotCheck) as error:
        return await _refused(call, error, "")


async def schema(call: AdminCall) -> AdminAnswer:
    """`GET /admin/config/schemas/KIND`: the JSON Schema of a kind of file."""
    path = schemas.DIRECTORY / f"{call.names[0]}.json"
    if call.names[0] not in schemas.KINDS or not path.is_file():
        raise NotFound("There is no schema of this kind.", code="schema_not_found")
    return AdminAnswer(await call.thread(path.read_bytes))


async def _done(call: AdminCall, data: bytes | None, base: Any) -> AdminAnswer:
    (name,) = call.names
    if base is not None and not isinstance(base, str):
        raise BadRequest("`digest` must be a string, or null for a new file.", param="digest")
    try:
        return AdminAnswer(await files_of(call).save(name, data, base))
    except (Conflict, DoesNotCheck) as error:
        return await _refused(call, error, name)


async def _refused(call: AdminCall, error: ProxyError, name: str) -> AdminAnswer:
    """The error, with the problems or the present file, which an editor needs to continue."""
    files = files_of(call)
    body: dict[str, Any] = error.payload()
    if isinstance(error, DoesNotCheck):
        body["problems"] = [files.shown(p) | {"warning": is_warning(p)} for p in error.problems]
    elif name:
        data, digest = await call.thread(files.read, name)
        body |= {"digest": digest, "text": data.decode("utf-8", "replace") if data is not None else None}
    return AdminAnswer(orjson.dumps(body), error.status, fields=(("x-proxy-error", error.code),))

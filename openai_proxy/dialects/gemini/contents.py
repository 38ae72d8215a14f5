"""Gemini's contents as chat messages. https://ai.google.dev/api/caching#Content

A content is a turn of the user or the model, made of parts. Function results are among the user's parts; they need not
name the call they answer, and are then matched by name.
"""

from typing import Any, Final

from openai_proxy import steps
from openai_proxy.dialects import json_text, media
from openai_proxy.dialects.gemini.fields import an_object, member, objects
from openai_proxy.dialects.packed_reasoning import is_packed, unpack
from openai_proxy.dialects.tool_calls import CallIds
from openai_proxy.dialects.tool_names import ToolNames
from openai_proxy.errors import BadRequest

Message = dict[str, Any]


def messages_of(contents: Any, names: ToolNames) -> list[Message]:
    """`contents` as messages. Raises BadRequest."""
    if isinstance(contents, str):
        return [{"role": "user", "content": contents}]
    made: list[Message] = []
    ids = CallIds()
    for index, content in enumerate(objects(contents, "contents")):
        param = f"contents[{index}]"
        role = content.get("role") or "user"
        parts = objects(content.get("parts"), f"{param}.parts")
        if role == "model":
            made.append(_model(parts, f"{param}.parts", names, ids))
        elif role in ("user", "function"):
            made += _user(parts, f"{param}.parts", names, ids)
        elif role == "system":
            made.append({"role": "system", "content": text_of(content, param)})
        else:
            raise BadRequest("A content's role must be user or model.", param=f"{param}.role")
    if not made:
        raise BadRequest("'contents' must hold at least one content.", param="contents")
    return made


def text_of(content: Any, param: str) -> str:
    """The text of a content without media, or of a plain string: for system instructions. Raises BadRequest."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = an_object(content, param).get("parts")
    texts = [part.get("text") for part in objects(parts, f"{param}.parts")]
    return steps.join((text for text in texts if isinstance(text, str) and text), "\n\n")


def _user(parts: list[dict[str, Any]], param: str, names: ToolNames, ids: CallIds) -> list[Message]:
    """Tool messages for the results, then the rest as one user message."""
    made: list[Message] = []
    pieces: list[dict[str, Any]] = []
    for index, part in enumerate(parts):
        response = member(part, "functionResponse")
        if response is None:
            pieces.append(_part(part, f"{param}[{index}]"))
            continue
        response = an_object(response, f"{param}[{index}].functionResponse")
        name = response.get("name")
        call_id = ids.result(names.fit(name) if isinstance(name, str) else None, response.get("id"))
        made.append({"role": "tool", "tool_call_id": call_id, "content": _result(response.get("response"))})
        for at, inner in enumerate(objects(response.get("parts"), f"{param}[{index}].functionResponse.parts")):
            pieces.append(_part(inner, f"{param}[{index}].functionResponse.parts[{at}]"))
    if pieces:
        made.append({"role": "user", "content": _joined(pieces)})
    return made


def _joined(pieces: list[dict[str, Any]]) -> Any:
    if all(piece["type"] == "text" for piece in pieces):
        return "\n\n".join(piece["text"] for piece in pieces)
    return pieces


def _result(response: Any) -> str:
    """The text of a function's response, which the SDKs put into a member with one of three names."""
    if isinstance(response, dict) and len(response) == 1:
        ((name, value),) = response.items()
        if isinstance(value, str) and name in ("output", "result"):
            return value
        if isinstance(value, str) and name == "error":
            return f"Error: {value}"
    return json_text.dumps(response).decode()


def _model(parts: list[dict[str, Any]], param: str, names: ToolNames, ids: CallIds) -> Message:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    details: list[Any] = []
    for index, part in enumerate(parts):
        where = f"{param}[{index}]"
        signature = member(part, "thoughtSignature")
        called = member(part, "functionCall")
        if called is not None:
            calls.append(_call(an_object(called, f"{where}.functionCall"), where, names, ids))
            if is_packed(signature):
                details += unpack(signature) or ()
            elif isinstance(signature, str):
                calls[-1]["extra_content"] = {"google": {"thought_signature": signature}}
        elif part.get("thought") is True:
            thoughts.append(str(part.get("text") or ""))
        elif member(part, "inlineData") is not None or member(part, "fileData") is not None:
            raise BadRequest(
                "A model's turn with media cannot be sent to this model.", param=where, code="unsupported_content"
            )
        else:
            texts.append(_text(part, where))
    made: Message = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    if any(thoughts):
        made["reasoning_content"] = "".join(thoughts)
    if details:
        made["reasoning_details"] = details
    if calls:
        made["tool_calls"] = calls
    return made


def _call(called: dict[str, Any], where: str, names: ToolNames, ids: CallIds) -> dict[str, Any]:
    name, arguments = called.get("name"), called.get("args")
    if not isinstance(name, str) or not name:
        raise BadRequest("A function call needs a name.", param=f"{where}.functionCall.name")
    if not isinstance(arguments, dict | None):
        raise BadRequest("'args' must be an object.", param=f"{where}.functionCall.args")
    fit = names.fit(name)
    function = {"name": fit, "arguments": json_text.dumps(arguments or {}).decode()}
    return {"id": ids.call(fit, called.get("id")), "type": "function", "function": function}


def _text(part: dict[str, Any], where: str) -> str:
    """The text of a part; code run by Google's own tool becomes text."""
    if isinstance(part.get("text"), str):
        return str(part["text"])
    code = member(part, "executableCode")
    if isinstance(code, dict):
        return f"\n```{str(code.get('language') or '').lower()}\n{code.get('code') or ''}\n```\n"
    result = member(part, "codeExecutionResult")
    if isinstance(result, dict):
        return f"\n```\n{result.get('output') or ''}\n```\n"
    if part.keys() <= {"thoughtSignature", "thought_signature", "text"}:
        return ""
    raise BadRequest("This kind of part is not understood.", param=where, code="unsupported_content")


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    inline = member(part, "inlineData")
    file = member(part, "fileData")
    made: dict[str, Any] | None = None
    if inline is not None:
        blob = an_object(inline, f"{where}.inlineData")
        kind, data = member(blob, "mimeType"), blob.get("data")
        if not isinstance(kind, str) or not isinstance(data, str):
            raise BadRequest("Inline data needs a mimeType and data.", param=f"{where}.inlineData")
        made = media.part(kind.lower(), standard(data))
    elif file is not None:
        uri = member(an_object(file, f"{where}.fileData"), "fileUri")
        kind = member(file, "mimeType") or "image/"
        if isinstance(uri, str) and uri.startswith(("https://", "http://")) and str(kind).startswith("image/"):
            made = {"type": "image_url", "image_url": {"url": uri}}
    else:
        return {"type": "text", "text": _text(part, where)}
    if made is None:
        raise BadRequest("This model does not take this kind of content.", param=where, code="unsupported_content")
    return made


_STANDARD: Final = str.maketrans("-_", "+/")


def standard(data: str) -> str:
    """Base64 in the standard alphabet: clients also use the URL-safe one, without padding."""
    padding = "=" * (-len(data) % 4)
    if steps.find(data, "-") >= 0 or steps.find(data, "_") >= 0:
        return steps.join((*(piece.translate(_STANDARD) for piece in steps.pieces(data)), padding))
    return steps.join((data, padding)) if padding else data

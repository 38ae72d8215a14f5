"""Reads a Responses request as a chat request.

References (`previous_response_id`, `conversation`, `item_reference`) are resolved beforehand by the caller, who has the
store; here only the contents of `input` are read.
https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.odd_input import understood
from openai_proxy.dialects.responses.conversation import ChatMessages
from openai_proxy.dialects.responses.tools import CUSTOM_INPUT, Declared, Tools
from openai_proxy.dialects.token_numbers import token_limit
from openai_proxy.errors import BadRequest, NotFound

_SAME: Final = (
    "model", "temperature", "top_p", "top_logprobs", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "safety_identifier", "user", "metadata", "service_tier", "moderation",
)  # fmt: skip
"""Members with the same name in the chat API."""

_READ: Final = frozenset(
    {*_SAME, "input", "instructions", "max_output_tokens", "reasoning", "text", "tools", "tool_choice", "include",
     "store", "previous_response_id", "conversation", "background", "background_options", "prompt", "stream",
     "stream_options"}
)  # fmt: skip
_DEFAULTS: Final = {"truncation": "disabled"}
"""Members without an equivalent whose default has no effect."""

_CLIENT_CALLS: Final = frozenset({"local_shell_call", "shell_call", "apply_patch_call"})
_HOSTED: Final = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call",
     "mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "computer_call", "computer_call_output",
     "program", "program_output", "program_call", "program_call_output"}
)  # fmt: skip
"""Items of tools that OpenAI's servers run: the answer's text states their results."""


@dataclass(frozen=True, slots=True)
class ResponsesDetails:
    """What `write_answer` needs to know of the request."""

    request: dict[str, Any]  # the document, for the members that an answer repeats
    declared: dict[str, Declared]  # how the functions of the chat request were declared
    packs: bool = False  # the client wants reasoning that it can send back
    ended: Callable[[dict[str, Any]], None] | None = None  # called with the response object once it is whole


def read_request(document: dict[str, Any]) -> IncomingRequest:
    """A Responses `document` as a chat request. Raises BadRequest and NotFound."""
    return understood(_read, document)


def _read(document: dict[str, Any]) -> IncomingRequest:
    _refuse(document)
    chat: dict[str, Any] = {name: document[name] for name in _SAME if document.get(name) is not None}
    reader = _Reader()
    instructions = document.get("instructions")
    if instructions is not None:
        if not isinstance(instructions, str):
            raise BadRequest("'instructions' must be a text.", param="instructions")
        reader.conversation.system(instructions, "instructions")
    reader.tools.add(document.get("tools"), "tools")
    reader.input(document.get("input"))
    _text(reader.format(document.get("text")), chat)
    chat["messages"] = reader.conversation.messages()
    if not chat["messages"]:
        raise BadRequest("There must be something in 'input'.", param="input")
    reader.tools.choose(document.get("tool_choice"), chat)
    _limits(document, chat)
    effort = reader.effort(document.get("reasoning"))
    if effort is not None:
        chat["reasoning_effort"] = effort
    include = document.get("include")
    include = include if isinstance(include, list) else []
    if "message.output_text.logprobs" in include or document.get("top_logprobs"):
        chat["logprobs"] = True
    else:
        chat.pop("top_logprobs", None)
    if document.get("stream"):
        # Usage is always requested, because the last event always includes it.
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    dropped = [
        name for name, value in document.items() if name not in _READ and value not in (None, _DEFAULTS.get(name))
    ]
    names = dict.fromkeys((*dropped, *reader.dropped, *reader.tools.dropped))
    packs = "reasoning.encrypted_content" in include
    return IncomingRequest(chat, tuple(names), ResponsesDetails(document, reader.tools.declared, packs))


def _refuse(document: dict[str, Any]) -> None:
    """Raise BadRequest for members that cannot be omitted without changing the meaning of the answer."""
    if document.get("background"):
        raise BadRequest(
            "Answers in the background are not available for this model.", param="background",
            code="unsupported_parameter",
        )  # fmt: skip
    if document.get("prompt") is not None:
        raise BadRequest(
            "Prompt templates are not available for this model.", param="prompt", code="unsupported_parameter"
        )
    if "messages" in document and document.get("input") is None:
        raise BadRequest(
            "'messages' is a member of the chat API; here it is called 'input'.", param="messages",
            code="unsupported_parameter",
        )  # fmt: skip


def _limits(document: dict[str, Any], chat: dict[str, Any]) -> None:
    limit = document.get("max_output_tokens")
    if limit is None:
        return
    # The name that most servers know; a model that only knows the newer one refuses it, and that is learnt.
    chat["max_tokens"] = token_limit(limit, "max_output_tokens")


def _text(text: dict[str, Any], chat: dict[str, Any]) -> None:
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    form = text.get("format")
    if not isinstance(form, dict) or form.get("type") in (None, "text"):
        return
    if form["type"] == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif form["type"] == "json_schema":
        schema = {
            name: form[name] for name in ("name", "description", "schema", "strict") if form.get(name) is not None
        }
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    else:
        raise BadRequest("This format of the answer is not understood.", param="text.format.type")


class _Reader:
    """Reads the items of `input`."""

    def __init__(self) -> None:
        self.conversation = ChatMessages()
        self.tools = Tools()
        self.dropped: list[str] = []
        self._update: dict[str, Any] = {}  # members set by a configuration_update

    def input(self, given: Any) -> None:
        """Read the member `input`."""
        if given is None:
            return
        if isinstance(given, str):
            self.conversation.user(given, "input")
            return
        if not isinstance(given, list):
            raise BadRequest("'input' must be a text or a list of items.", param="input")
        for index, item in enumerate(given):
            param = f"input[{index}]"
            if not isinstance(item, dict):
                raise BadRequest("An input item must be an object.", param=param)
            self._item(item, param)

    def effort(self, reasoning: Any) -> Any:
        """The effort to request."""
        given = reasoning if isinstance(reasoning, dict) else {}
        updated = self._update.get("reasoning")
        return (updated if isinstance(updated, dict) else {}).get("effort") or given.get("effort")

    def format(self, text: Any) -> dict[str, Any]:
        """The member `text`, in its latest state."""
        updated = self._update.get("text")
        return {**(text if isinstance(text, dict) else {}), **(updated if isinstance(updated, dict) else {})}

    def _item(self, item: dict[str, Any], param: str) -> None:
        kind = item.get("type")
        if kind is None:
            kind = "message" if "role" in item else "item_reference" if "id" in item else None
        if kind == "message":
            self._message(item, param)
        elif kind in ("function_call", "custom_tool_call", "tool_search_call") or kind in _CLIENT_CALLS:
            name, arguments = self._call(item, str(kind))
            self.conversation.call(item, name, arguments, param)
        elif kind in ("function_call_output", "custom_tool_call_output") or str(kind)[:-7] in _CLIENT_CALLS:
            self._result(item, str(kind), param)
        elif kind == "reasoning":
            self.conversation.reasoning(item)
        elif kind == "additional_tools":
            self.tools.add(item.get("tools"), f"{param}.tools")
        elif kind == "tool_search_output":
            self._search_output(item, param)
        elif kind == "item_reference":
            wanted = str(item.get("id"))[:64]
            raise NotFound(f"Item with id '{wanted}' not found.", param=param, code="item_not_found")
        elif kind == "configuration_update":
            self._update.update(item)
        elif kind in _HOSTED:
            self.dropped.append(f"input.{kind}")
        else:
            raise BadRequest(
                f"Input items of the type {str(kind)[:64]!r} are not understood.", param=param,
                code="unsupported_content",
            )  # fmt: skip

    def _message(self, item: dict[str, Any], param: str) -> None:
        role = item.get("role")
        if role == "assistant":
            self.conversation.assistant(item, param)
        elif role in ("system", "developer"):
            self.conversation.system(item.get("content"), f"{param}.content")
        elif role == "user":
            self.conversation.user(item.get("content"), f"{param}.content")
        else:
            raise BadRequest("A message's role must be user, assistant, system or developer.",
                             param=f"{param}.role")  # fmt: skip

    def _call(self, item: dict[str, Any], kind: str) -> tuple[str, str]:
        """(name of the function, its arguments)."""
        if kind == "function_call":
            arguments = item.get("arguments")
            return self.tools.function_name(item.get("name"), item.get("namespace")), _arguments(arguments)
        if kind == "custom_tool_call":
            arguments = json_text.dumps({CUSTOM_INPUT: item.get("input") or ""}).decode()
            return self.tools.function_name(item.get("name"), item.get("namespace")), arguments
        if kind == "tool_search_call":
            return "tool_search", _arguments(item.get("arguments"))
        return kind.removesuffix("_call"), _arguments(item.get("action") or item.get("operation"))

    def _result(self, item: dict[str, Any], kind: str, param: str) -> None:
        output = item.get("output")
        if kind.removesuffix("_output") in _CLIENT_CALLS:
            # The first of these items call it `id`; those with a list hold the output of each command.
            item = {**item, "call_id": item.get("call_id") or item.get("id")}
            if isinstance(output, list):
                output = json_text.dumps(output).decode()
        self.conversation.result(item, output, param)

    def _search_output(self, item: dict[str, Any], param: str) -> None:
        found = item.get("tools")
        self.tools.add(found, f"{param}.tools", found=True)
        if not isinstance(item.get("call_id"), str):
            return  # a search that OpenAI ran has no call here
        names = [tool.get("name") for tool in found or () if isinstance(tool, dict)]
        self.conversation.result(item, json_text.dumps({"found": names}).decode(), param)


def _arguments(arguments: Any) -> str:
    if arguments is None:
        return "{}"
    if isinstance(arguments, str):
        return arguments if arguments.strip() else "{}"
    return json_text.dumps(arguments).decode()

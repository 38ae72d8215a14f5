"""LangChain's ChatOpenAI on an augmented model: a tool conversation, a mixed turn, a streamed status, a broken stream.

Run by an interpreter with LangChain. Arguments: base URL, and the names of the scripts in this order. Prints one JSON
object.
"""

import json
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def theirs(x: int) -> str:
    """The client's own."""
    return "on"


def client(url: str, play: str) -> ChatOpenAI:
    """A model that uses the script `play`."""
    return ChatOpenAI(
        model="augmented/tools",
        base_url=url,
        api_key="any",
        max_retries=0,
        timeout=20,
        default_headers={"X-Play": play},
        stream_usage=True,
    )


def main() -> None:
    """Run all conversations, and print the results."""
    url, conversation, mixed, streamed, helped, broken = sys.argv[1:]
    checked: dict[str, object] = {}
    question = HumanMessage("Hi")
    checked["conversation"] = client(url, conversation).invoke([question]).content

    model = client(url, mixed).bind_tools([theirs])
    first = model.invoke([question])
    checked["call"] = [[call["name"], call["args"]] for call in first.tool_calls]
    results = [ToolMessage(theirs.invoke(call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
    checked["mixed"] = model.invoke([question, first, *results]).content

    checked["streamed"] = "".join(str(chunk.content) for chunk in client(url, streamed).stream([question]))

    whole = None
    for chunk in client(url, helped).bind_tools([theirs]).stream([question]):
        whole = chunk if whole is None else whole + chunk
    checked["helped"] = [whole.content, json.dumps(whole.tool_calls[0]["args"]), whole.usage_metadata["total_tokens"]]

    try:
        list(client(url, broken).stream([question]))
        checked["broken"] = "no error"
    except Exception as error:
        checked["broken"] = type(error).__name__
    print(json.dumps(checked))


main()

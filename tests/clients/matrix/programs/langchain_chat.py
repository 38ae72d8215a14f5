"""LangChain's ChatOpenAI with a tool loop, streamed."""

import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

root, model, question = sys.argv[1:]


@tool
def theirs(x: int) -> str:
    """The client's own."""
    return "on"


client = ChatOpenAI(model=model, base_url=root + "/v1", api_key="any", max_retries=0).bind_tools([theirs])
messages = [HumanMessage(question)]
while True:
    whole = None
    for chunk in client.stream(messages):
        whole = chunk if whole is None else whole + chunk
    if not whole.tool_calls:
        break
    messages += [whole, *(ToolMessage("on", tool_call_id=call["id"]) for call in whole.tool_calls)]
print(whole.content)

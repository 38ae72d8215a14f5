"""Ollama's library for Python, streamed, with a tool loop; Home Assistant's integration uses it."""

import sys

from ollama import Client

root, model, question = sys.argv[1:]
client = Client(root)
parameters = {"type": "object", "properties": {"x": {"type": "integer"}}}
tool = {
    "type": "function",
    "function": {"name": "theirs", "parameters": parameters},
}
messages = [{"role": "user", "content": question}]
while True:
    text, calls = "", []
    for piece in client.chat(model=model, messages=messages, tools=[tool], stream=True):
        text += piece.message.content or ""
        calls += piece.message.tool_calls or ()
    if not calls:
        break
    messages.append({"role": "assistant", "content": text, "tool_calls": [call.model_dump() for call in calls]})
    messages += [{"role": "tool", "tool_name": call.function.name, "content": "on"} for call in calls]
print(text)

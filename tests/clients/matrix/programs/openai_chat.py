"""OpenAI's library for Python: chat completions, streamed, with a tool loop."""

import sys

from openai import OpenAI

root, model, question = sys.argv[1:]
client = OpenAI(base_url=root + "/v1", api_key="any", max_retries=0)
parameters = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}
tool = {"type": "function", "function": {"name": "theirs", "parameters": parameters, "strict": True}}
messages = [{"role": "user", "content": question}]
while True:
    with client.chat.completions.stream(model=model, messages=messages, tools=[tool]) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    if not message.tool_calls:
        break
    calls = [
        {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
        for c in message.tool_calls
    ]
    messages.append({"role": "assistant", "content": message.content, "tool_calls": calls})
    messages += [{"role": "tool", "tool_call_id": c["id"], "content": "on"} for c in calls]
print(message.content)

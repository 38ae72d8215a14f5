"""Anthropic's library for Python: streamed, with a tool loop."""

import sys

from anthropic import Anthropic

root, model, question = sys.argv[1:]
client = Anthropic(base_url=root, api_key="any", max_retries=0)
tool = {"name": "theirs", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}
messages = [{"role": "user", "content": question}]
while True:
    with client.messages.stream(model=model, max_tokens=999, messages=messages, tools=[tool]) as stream:
        for _ in stream:
            pass
        message = stream.get_final_message()
    calls = [block for block in message.content if block.type == "tool_use"]
    if not calls:
        break
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "on"} for call in calls]
    messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
print("".join(block.text for block in message.content if block.type == "text"))

"""Anthropic's library for Python: a message thread, whose conversation the server is asked to store."""

import sys

from anthropic import Anthropic

root, model, question = sys.argv[1:]
tool = {"name": "theirs", "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}
client = Anthropic(base_url=root, api_key="any", max_retries=0)
thread = client.beta.messages.thread(model=model, max_tokens=999, tools=[tool])
message = thread.send({"role": "user", "content": question})
while calls := [block for block in message.content if block.type == "tool_use"]:
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "on"} for call in calls]
    message = thread.send({"role": "user", "content": results})
print("".join(block.text for block in message.content if block.type == "text"))

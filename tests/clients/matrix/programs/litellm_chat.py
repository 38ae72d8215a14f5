"""litellm as a library, streamed, with a tool loop."""

import sys

import litellm

root, model, question = sys.argv[1:]
parameters = {"type": "object", "properties": {"x": {"type": "integer"}}}
tool = {"type": "function", "function": {"name": "theirs", "parameters": parameters}}
messages = [{"role": "user", "content": question}]
while True:
    chunks = list(
        litellm.completion(
            model="openai/" + model, api_base=root + "/v1", api_key="any", messages=messages, tools=[tool], stream=True
        )
    )
    message = litellm.stream_chunk_builder(chunks, messages=messages).choices[0].message
    if not message.tool_calls:
        break
    messages.append(message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "on"} for call in message.tool_calls]
print(message.content)

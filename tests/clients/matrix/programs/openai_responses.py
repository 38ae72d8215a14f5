"""OpenAI's library for Python: Responses, streamed, with a tool loop over `previous_response_id`."""

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
tool = {"type": "function", "name": "theirs", "parameters": parameters, "strict": True}
given, previous = question, None
while True:
    with client.responses.stream(model=model, input=given, tools=[tool], previous_response_id=previous) as stream:
        for _ in stream:
            pass
        response = stream.get_final_response()
    calls = [item for item in response.output if item.type == "function_call"]
    if not calls:
        break
    given = [{"type": "function_call_output", "call_id": call.call_id, "output": "on"} for call in calls]
    previous = response.id
print(response.output_text)

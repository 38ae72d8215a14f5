"""Google's library for Python, with its own automatic tool loop."""

import sys

from google import genai
from google.genai import types

root, model, question = sys.argv[1:]


def theirs(x: int) -> str:
    """The client's own."""
    return "on"


client = genai.Client(api_key="any", http_options=types.HttpOptions(base_url=root))
answer = client.models.generate_content(
    model=model, contents=question, config=types.GenerateContentConfig(tools=[theirs])
)
print(answer.text)

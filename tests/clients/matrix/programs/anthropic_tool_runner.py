"""Anthropic's library for Python: its tool runner, which runs the loop itself."""

import sys

from anthropic import Anthropic, beta_tool

root, model, question = sys.argv[1:]


@beta_tool
def theirs(x: int) -> str:
    """The client's own.

    Args:
        x: A number.
    """
    return "on"


client = Anthropic(base_url=root, api_key="any", max_retries=0)
runner = client.beta.messages.tool_runner(
    model=model, max_tokens=999, tools=[theirs], messages=[{"role": "user", "content": question}]
)
print("".join(block.text for block in runner.until_done().content if block.type == "text"))

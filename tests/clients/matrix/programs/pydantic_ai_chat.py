"""pydantic-ai over chat completions, with its own tool loop."""

import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

root, model, question = sys.argv[1:]
agent = Agent(OpenAIChatModel(model, provider=OpenAIProvider(base_url=root + "/v1", api_key="any")))


@agent.tool_plain
def theirs(x: int) -> str:
    """The client's own."""
    return "on"


print(agent.run_sync(question).output)

"""OpenAI's Agents SDK, over Responses, streamed."""

import asyncio
import sys

from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

root, model, question = sys.argv[1:]
set_tracing_disabled(True)


@function_tool
def theirs(x: int) -> str:
    """The client's own."""
    return "on"


async def main() -> None:
    """Ask, and print."""
    client = AsyncOpenAI(base_url=root + "/v1", api_key="any", max_retries=0)
    agent = Agent(name="a", tools=[theirs], model=OpenAIResponsesModel(model=model, openai_client=client))
    result = Runner.run_streamed(agent, question)
    async for _ in result.stream_events():
        pass
    print(result.final_output)


asyncio.run(main())

"""LlamaIndex's OpenAILike with its own tool loop."""

import asyncio
import sys

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike

root, model, question = sys.argv[1:]


def theirs(x: int) -> str:
    """The client's own."""
    return "on"


async def main() -> None:
    """Ask, and print."""
    llm = OpenAILike(
        model=model, api_base=root + "/v1", api_key="any", is_chat_model=True, is_function_calling_model=True,
        max_retries=0,
    )  # fmt: skip
    print(await FunctionAgent(tools=[theirs], llm=llm).run(question))


asyncio.run(main())

"""A configuration with augmented models, tools of all kinds and skills, for the scripted provider.

The `X-Play` header of a request selects the script that answers it; it is sent upstream like any other, so that one
daemon serves every test.
"""

from typing import Any

from tests.front.configurations import front_conf
from tests.harness.upstream import Upstream

TOOLS = {
    "tools/classes.py": '''
from openai_proxy import ToolHandler, register_handler


class Upper(ToolHandler):
    """Writes a text in capital letters."""

    @property
    def name(self) -> str:
        return "upper"

    async def execute(self, arguments: dict) -> str:
        return str(arguments.get("text", "")).upper()


register_handler(Upper())
''',
    "tools/functions.py": '''
import asyncio
import pathlib

from openai_proxy import tool

SECRET = "sk-canary-" + "7f3e9a1c5b8d2046upstream"


@tool
def double(number: int) -> str:
    """Double a number.

    Args:
        number: The number.
    """
    return str(number * 2)


@tool
def boom() -> str:
    """Raises."""
    raise RuntimeError("no luck in /etc/secret/place with " + SECRET)


@tool
async def gate(folder: str) -> str:
    """Says that it began, waits until it may go on, and says if it was cancelled."""
    place = pathlib.Path(folder)
    (place / "started").touch()
    try:
        while not (place / "go").exists():
            await asyncio.sleep(0.005)
    except asyncio.CancelledError:
        (place / "cancelled").touch()
        raise
    return "the gate was open"


@tool
async def never() -> str:
    """Never comes back."""
    await asyncio.Event().wait()
    return "never"


@tool
def long_text(size: int) -> str:
    """A long text."""
    return "HEAD" + "x" * size + "TAIL"


@tool
def nonsense() -> object:
    """No text."""
    return {1, 2}
''',
    "tools/legacy.py": """
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "area",
            "description": "The area of a rectangle.",
            "parameters": {
                "type": "object",
                "properties": {"w": {"type": "number"}, "h": {"type": "number"}},
                "required": ["w", "h"],
            },
        },
    }
]


def execute_tool(name, arguments):
    return f"{name}={arguments['w'] * arguments['h']:g}"
""",
}

OURS = "[calculator, upper, double, area, gate, boom, never, long_text, nonsense]"

MODELS = {
    "bare": "system_prompt: You are the house.",
    "tools": f"system_prompt: You are the house.\ntools: {OURS}\ndescription: Everything\nowned_by: the-house",
    "off": f"tools: {OURS}\ntool_status: 'off'",
    "reasoning": f"tools: {OURS}\ntool_status: reasoning",
    "strip": "reasoning: strip",
    "remember": f"tools: {OURS}\nremember_tool_turns: true",
    "two-rounds": f"tools: {OURS}\nmax_tool_rounds: 2",
    "hasty": f"tools: {OURS}\ntool_timeout: 0.3",
    "deadline": f"tools: {OURS}\ndeadline: 1.5",
    "spoken": f"tools: {OURS}\nspeech: true\ndeadline: 3",
    "brisk": f"tools: {OURS}\nupstream_model: 'brisk:m-brisk'",
    "idle": f"tools: {OURS}\nupstream_model: 'idle:m-idle'",
    "on-echo": f"tools: {OURS}\nupstream_model: 'echo:echo'",
    "params": f"tools: {OURS}\nparams: {{default: {{temperature: 0.3}}, override: {{top_p: 0.5}}, drop: [user]}}",
    "templates": "system_prompt: |\n"
    '  Six times seven is {{calculator(expression="6*7")}}, twice {{double(number=21)}}.\n'
    '  Broken: {{boom()}}. Bad: {{calculator(expression="6*")}}. Slow: {{never()}}.\n'
    "  Literal: {{nobody_has_this()}} {braces} {{ not a call }} {{upper(text='it\\'s \"ok\" ü')}}.\n"
    "template_timeout: 1.0",
    "injected": "system_prompt: Prompt.\nskills: [python-expert]\ninclude_global_skills: false",
    "all-skills": "system_prompt: Prompt.\ninclude_global_skills: true",
    "demand": "system_prompt: Prompt.\nskills_mode: on_demand\ninclude_global_skills: true",
}

SKILLS = {
    "skills/python-expert.md": "---\nname: Python expert\ndescription: Writes Python.\n---\nUse type hints.\n",
    "skills/cook.yaml": "name: Cook\ndescription: Cooks.\ncontent: |\n  Salt the water.\n",
    "skills/garden/SKILL.md": "---\nname: garden\ndescription: Knows plants.\n---\nWater at dawn.\n",
    "skills/garden/notes.txt": "Roses need sun.\n",
    "skills/augmented/demand/secret.md": "Only for demand.\n",
}


def model_file(name: str, text: str) -> tuple[str, str]:
    """The path and the text of a model file; its upstream model is m-NAME unless the text sets another."""
    upstream = "" if "upstream_model" in text else f"upstream_model: m-{name}\n"
    skills = "" if "include_global_skills" in text else "include_global_skills: false\n"
    return f"models/{name}.yaml", f"name: augmented/{name}\n{upstream}{skills}{text}\n"


def augmented_files() -> dict[str, str]:
    """Every file below `conf/` except proxy.yaml."""
    return dict(model_file(name, text) for name, text in MODELS.items()) | TOOLS | SKILLS


def augmented_conf(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """Its proxy.yaml."""
    return front_conf(upstream, connections={"echo": {"api_type": "echo"}} | more.pop("connections", {}), **more)

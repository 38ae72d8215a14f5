"""The prompt of one augmented model: compiled once per generation, filled in per request."""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from openai_proxy import tasks
from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.skills import SkillFile
from openai_proxy.prompt.assembly import Assembled, assemble
from openai_proxy.prompt.skills import callable_skills, catalogue, choose, injected
from openai_proxy.prompt.templates import Call, Rendered, Template, TemplateCache, TemplateCall, parse, render

SERVER_PROMPT_AGE: Final = 60.0
"""Seconds for which a server's own prompt is cached: Home Assistant's changes with its exposed entities, rarely."""

_MCP_PROMPT: Final = "mcp_prompt"  # tools.mcp.context

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """The part of the prompt that a model file puts before a conversation. Immutable; lives as long as its generation.

    `skills` are all that the model has; `loadable` those for which it needs the tools of tools/skills.py.
    """

    template: Template
    skills: tuple[SkillFile, ...] = ()
    skills_text: str = ""
    loadable: tuple[SkillFile, ...] = ()
    server_prompts: tuple[tuple[str, str], ...] = ()
    """MCP servers whose own prompt the model gets, with the prompt's name there, "" for the first."""

    timeout: float = 3.0
    cache_seconds: float = 0.0

    @classmethod
    def of(cls, model: ModelConfig, skills: Iterable[SkillFile]) -> "Prompt":
        """The prompt of `model`, given all `skills`."""
        chosen = choose(skills, model.name, named=model.skills, include_global=model.include_global_skills)
        on_demand = model.skills_mode == "on_demand"
        return cls(
            template=parse(model.system_prompt),
            skills=chosen,
            skills_text=catalogue(chosen) if on_demand else injected(chosen),
            loadable=callable_skills(chosen) if on_demand else (),
            server_prompts=tuple(
                (server, rule.prompt if isinstance(rule.prompt, str) else "")
                for server, rule in model.mcp_servers.items()
                if rule.prompt
            ),
            timeout=model.template_timeout,
            cache_seconds=model.template_cache,
        )

    async def messages(
        self,
        client: Sequence[Mapping[str, Any]],
        call: Call,
        *,
        known: Callable[[str], bool],
        cache: TemplateCache | None = None,
        probe: bool = False,
        within: float = math.inf,
        device: str = "",
        large: bool = False,
    ) -> Assembled:
        """The client's messages with this prompt before them, in the provider's form.

        `call` and `known` give access to the tools (`Toolbox.run` and `Toolbox.__contains__` fit). A `probe` (a request
        for a few tokens, contract section 4) waits for no template, and others wait at most `within` seconds for one.
        `device` is the satellite that `call` speaks for; `large` messages are assembled off the event loop. Raises
        BadRequest for what is not a list of messages.
        """
        timeout = min(self.timeout, within)
        theirs: list[str] = []
        if probe:
            ours = Rendered(self.template.placed({}, known).text)
        else:
            rendering = render(
                self.template, call, known=known, timeout=timeout, cache=cache, cache_seconds=self.cache_seconds
            )
            if not self.server_prompts:
                ours = await rendering
            else:
                pending = [
                    tasks.spawn(_server_prompt(call, server, name, device, timeout, cache), name=f"prompt of {server}")
                    for server, name in self.server_prompts
                ]
                try:
                    ours = await rendering
                    theirs = await asyncio.gather(*pending)
                finally:
                    for task in pending:
                        task.cancel()
        put = partial(assemble, ours=ours.text, skills=self.skills_text, servers=theirs, changing=ours.changing)
        return await tasks.beside(large, put, client)


async def _server_prompt(
    call: Call, server: str, name: str, device: str, timeout: float, cache: TemplateCache | None
) -> str:
    """The server's own prompt, cached for a minute; "" if it is not available now."""
    key = TemplateCall(_MCP_PROMPT, {"server": server, "name": name, "device": device}, "", 0, 0)
    if cache is not None and (kept := cache.get(key, SERVER_PROMPT_AGE)) is not None:
        return kept
    try:
        async with asyncio.timeout(timeout):
            outcome = await call(_MCP_PROMPT, {"server": server, "name": name})
    except TimeoutError:
        log.warning("MCP server %s did not return its prompt within %g s", server, timeout)
        return ""
    except Exception as error:  # a tool promises results; the prompt must not depend on that promise
        log.warning("MCP server %s does not return its prompt: %s", server, type(error).__name__)
        return ""
    if outcome.is_error:
        log.warning("MCP server %s does not return its prompt: %s", server, outcome.text)
        return ""
    if cache is not None:
        cache.put(key, outcome.text)
    return outcome.text

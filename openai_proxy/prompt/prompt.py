"""The prompt of one augmented model: worked out once per generation, filled in per request."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai_proxy.config.model_file import ModelConfig
from openai_proxy.config.skills import SkillFile
from openai_proxy.prompt.assembly import Assembled, assemble
from openai_proxy.prompt.skills import callable_skills, catalogue, choose, injected
from openai_proxy.prompt.templates import Call, Rendered, Template, TemplateCache, parse, render


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model file puts before a conversation. Immutable; lives as long as its generation.

    `skills` are all that the model has; `loadable` those for which it needs the tools of tools/skills.py.
    """

    template: Template
    skills: tuple[SkillFile, ...] = ()
    skills_text: str = ""
    loadable: tuple[SkillFile, ...] = ()
    timeout: float = 3.0
    cache_seconds: float = 0.0

    @classmethod
    def of(cls, model: ModelConfig, skills: Iterable[SkillFile]) -> "Prompt":
        """The prompt of `model` in a house with `skills`."""
        chosen = choose(skills, model.name, named=model.skills, include_global=model.include_global_skills)
        on_demand = model.skills_mode == "on_demand"
        return cls(
            template=parse(model.system_prompt),
            skills=chosen,
            skills_text=catalogue(chosen) if on_demand else injected(chosen),
            loadable=callable_skills(chosen) if on_demand else (),
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
    ) -> Assembled:
        """The client's messages with this prompt before them, as the provider gets them.

        `call` and `known` are the house's tools (`Toolbox.run` and `Toolbox.__contains__` fit). A `probe` (a request
        for a few tokens, contract section 4) waits for no template, and nobody waits for one longer than `within`
        seconds. Raises BadRequest for messages that are none.
        """
        if probe:
            ours = Rendered(self.template.placed({}, known).text)
        else:
            ours = await render(
                self.template,
                call,
                known=known,
                timeout=min(self.timeout, within),
                cache=cache,
                cache_seconds=self.cache_seconds,
            )
        return assemble(client, ours=ours.text, skills=self.skills_text, changing=ours.changing)

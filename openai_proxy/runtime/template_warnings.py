"""Templates that are probably mistakes; `openai-proxy check` reports them."""

from collections.abc import Iterator, Mapping

from openai_proxy.config.problems import Problem, did_you_mean, warning
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.prompt.suspects import suspects
from openai_proxy.prompt.templates import TemplateCall
from openai_proxy.runtime.augmented_models import AugmentedModel, AugmentedModels, known_names, places
from openai_proxy.tools.custom import CustomTools


def template_warnings(snapshot: Snapshot, augmented: AugmentedModels) -> Iterator[Problem]:
    """Warn of braces that only look like a template, and of unknown or missing arguments."""
    for model in augmented.models.values():
        yield from _in_prompt(snapshot, model, augmented.custom)


def _in_prompt(snapshot: Snapshot, model: AugmentedModel, tools: CustomTools) -> Iterator[Problem]:
    template = model.prompt.template
    found = [(one.offset, one.source, f"{one.source[:80]!r} {one.why}")
             for one in suspects(template, known_names(snapshot, tools))]  # fmt: skip
    offset = 0
    for part in template.parts:
        if isinstance(part, TemplateCall):
            why = _arguments(part, tools)
            found.append((offset, part.source, f"the template {part.source[:80]!r} {why}" if why else ""))
        offset += len(part if isinstance(part, str) else part.source)
    found.sort()
    where = places(snapshot, model.config, (source for _, source, _ in found))
    for (_, _, message), place in zip(found, where, strict=True):
        if message:
            yield warning(place, message)


def _arguments(call: TemplateCall, tools: CustomTools) -> str | None:
    """What is wrong with the arguments of a call, according to the tool's schema."""
    handler = tools.handlers.get(call.name)
    schema = (handler.definition.get("function") or {}).get("parameters") if handler is not None else None
    if not isinstance(schema, Mapping) or not isinstance(properties := schema.get("properties"), Mapping):
        return None
    if not schema.get("additionalProperties"):
        for name in call.arguments:
            if name not in properties:
                has = f"it has {', '.join(properties)}" if properties else "it has none"
                return f'has an unknown argument "{name}"{did_you_mean(name, properties) or f" ({has})"}'
    required = schema.get("required")
    missing = [name for name in required if name not in call.arguments] if isinstance(required, list) else []
    return f"lacks the argument {missing[0]}, so it always fails" if missing else None

"""Describes a decision in words, for `openai-proxy explain` and the page."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from openai_proxy.auth.budgets import money
from openai_proxy.decision.decide import Decision, Refusal
from openai_proxy.exchange import Caller
from openai_proxy.runtime.generation import Generation
from openai_proxy.upstream.lessons import LessonTable

USAGE_SINCE: Final = "7d"
"""The period of the reported usage: the last seven days."""


def lines(
    generation: Generation,
    caller: Caller,
    model: str,
    found: Decision | Refusal,
    lessons: LessonTable | None = None,
    usage: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Describe what was `found` for a chat request of `caller` for `model`, including what the targets refuse.

    `usage` is a report of usage by model since USAGE_SINCE, which says how much of its prompts came from a cache.
    """
    yield f"{model}, requested by " + (f"group '{caller.group}'" if caller.group else "anyone")
    if isinstance(found, Refusal) and not generation.access.may_use(caller, model):
        yield f"{found.error.status}: {found.reason} (allowed_models)"
        return
    augmented = generation.snapshot.models.get(model)
    if augmented is not None:
        file, line, _ = generation.snapshot.place("model", model)
        yield f"augmented model: {file}:{line}, upstream model {augmented.upstream_model}"
    else:
        yield "no model file has this name: it is passed through"
    yield "rules:"
    name = augmented.upstream_model if augmented is not None else model
    yield from (f"  {pattern}: {verdict}" for pattern, verdict in generation.router.why(name))
    if isinstance(found, Refusal):
        yield f"{found.error.status}: {found.reason}"
        return
    yield from _targets(generation, caller, found, lessons)
    yield from _cached(model, usage)
    if augmented is not None:
        yield from _augmented(generation, model)
    allowance = generation.allowances.get(caller.group)
    if allowance is not None:
        names = ("requests per minute", "requests per day", "tokens per minute", "tokens per day")
        described = [f"{int(number)} {text}" for number, text in zip(allowance.numbers, names, strict=True) if number]
        described += [f"{int(allowance.concurrent)} concurrent requests"] if allowance.concurrent is not None else []
        if allowance.budget is not None:
            budget = allowance.budget
            amounts = ((budget.per_day, "a day"), (budget.per_month, "a month"))
            described += [f"{money(amount, budget.currency)} {text}" for amount, text in amounts if amount is not None]
        yield f"limits: {', '.join(described)}"


def _targets(generation: Generation, caller: Caller, decision: Decision, lessons: LessonTable | None) -> Iterator[str]:
    """Where the request goes, and in what form."""
    route = decision.route
    count = len(route.targets) + len(decision.withheld)
    yield f"decided by: {route.rule}" + (f", {route.policy}" if count > 1 else "")
    yield "goes to:" if count == 1 else "goes to, in turn until one answers:"
    for target in route.targets:
        connection = generation.config.connections.get(target.connection)
        if connection is None:
            yield f"  {target.connection}: built in, offline"
            continue
        keys = f"{len(connection.api_keys)} keys" if len(connection.api_keys) > 1 else "1 key"
        keys = keys if connection.api_keys else "the caller's key" if connection.forward_auth else "no key"
        sent = target.model or decision.name
        yield f"  {target.connection} ({connection.api_type}): model {sent}, {keys}, {connection.max_retries} retries"
        rules = decision.rules[target.connection]
        if rules.prompt_cache:
            yield "    prompt cache: what changes every turn is moved to the end (prompt_cache)"
        if rules.drop:
            yield f"    params dropped: {', '.join(rules.drop)}"
        yield from (f"    params default: {key} = {value!r}" for key, value in rules.default.items())
        yield from (f"    params override: {key} = {value!r}" for key, value in rules.override.items())
        yield from (f"    params renamed: {old} to {new}" for old, new in rules.rename.items())
        known = lessons.of(target.connection, connection.api_base or "").as_text() if lessons is not None else {}
        for whose, name in (("the server", ""), ("this model", sent or "")):
            if name in known:
                yield f"    learnt: {whose} {known.pop(name)}"
    for target in decision.withheld:
        yield f"  {target.connection}: not for group '{caller.group}' (allowed_connections)"


def _cached(model: str, usage: Mapping[str, Any] | None) -> Iterator[str]:
    for row in usage["rows"] if usage is not None else ():
        if row["model"] == model and row["input_tokens"]:
            share = row["cached_tokens"] / row["input_tokens"]
            described = f"{row['cached_tokens']:,} of {row['input_tokens']:,} prompt tokens ({share:.0%})"
            yield f"prompt cache: {described} came from it in the last seven days"


def _augmented(generation: Generation, model: str) -> Iterator[str]:
    from openai_proxy.prompt.prompt import Prompt

    snapshot = generation.snapshot
    config = snapshot.models[model]
    tools = [t if isinstance(t, str) else str(t.get("function", {}).get("name")) for t in config.tools]
    prompt = Prompt.of(config, snapshot.skills)
    if prompt.loadable:
        tools += ["load_skill", "read_skill_file"]
    yield f"tools: {', '.join(tools) or 'none'}"
    for server, rule in config.mcp_servers.items():
        allowed = ", ".join(rule.whitelist) if rule.whitelist else "all"
        without = f" without {', '.join(rule.blacklist)}" if rule.blacklist else ""
        state = "" if server in snapshot.servers else " (no such server)"
        yield f"MCP server {server}{state}: {allowed}{without}, as mcp_{server}_…"
        yield from (f"  {tool} is called mcp_{server}_{new}" for tool, new in rule.rename.items())
        if rule.defer != "auto":
            yield "  found by find_tools" if rule.defer else "  always listed"
        if rule.prompt:
            named = "first" if rule.prompt is True else f"'{rule.prompt}'"
            yield f"  its own prompt ({named}) is added to the model's"
    if config.client_tools != "pass":
        whose = "ours" if config.client_tools == "prefer" else "the client's"
        yield f"client_tools: of two tools with the same function, {whose} is left out"
    if config.warm:
        yield "warm: kept loaded, with the fixed part of its prompt"
    if config.confirm:
        yield f"only after the person has agreed: {', '.join(config.confirm)}"
    if generation.augmented is not None and model in generation.augmented.models:
        yield f"offered now: {generation.augmented.models[model].offering.summary()}"
    skills = ", ".join(f"{skill.model + '/' if skill.model else ''}{skill.id}" for skill in prompt.skills)
    yield f"skills ({config.skills_mode}): {skills or 'none'}"
    calls = [call.source for call in prompt.template.unknown(lambda name: False)]
    if calls:
        yield f"template calls: {', '.join(calls)}"
    yield "prompt:"
    yield from (f"  | {line}" for line in (config.system_prompt.strip() or "(none)").splitlines())

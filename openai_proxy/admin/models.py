"""The available models, explanations of where requests go, and client settings: `/admin/models` …"""

from typing import Any

from openai_proxy.admin.call import AdminCall
from openai_proxy.admin.recipes import KEY_PLACE, NO_KEY, RECIPES, RecipePlace
from openai_proxy.decision.decide import Decision, decide
from openai_proxy.decision.explain import USAGE_SINCE, lines
from openai_proxy.decision.visible import CHAT, visible_models
from openai_proxy.errors import BadRequest, NotFound
from openai_proxy.exchange import Caller
from openai_proxy.runtime.generation import Generation


async def list_models(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/models`: every model that can be requested, with its first target."""
    assert call.caller is not None
    generation = call.state.generation
    found = await visible_models(call.state, generation, call.caller)
    return {"models": [_shown(generation, call.caller, model) for model in found]}


def _shown(generation: Generation, caller: Caller, model: dict[str, Any]) -> dict[str, Any]:
    name = model["id"]
    shown = {key: value for key, value in model.items() if key not in ("object", "created")}
    decision = decide(generation, caller, CHAT, name)
    if isinstance(decision, Decision):
        target = decision.route.targets[0]
        shown |= {"connection": target.connection, "upstream_model": target.model or decision.name,
                  "rule": decision.route.rule, "targets": len(decision.route.targets)}  # fmt: skip
    if name in generation.snapshot.models:
        file, line, _ = generation.snapshot.place("model", name)
        shown |= {"augmented": True, "file": file, "line": line}
    return shown


async def explain(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/explain?model=&group=`: how a chat request for it would be served, line by line."""
    generation = call.state.generation
    model, group = call.argument("model"), call.argument("group") or None
    if not model:
        raise BadRequest("`model` is missing.", param="model")
    if group is not None and group not in generation.config.groups:
        raise BadRequest(f"There is no group '{group[:64]}'.", param="group")
    caller = Caller("127.0.0.1", group)
    found = decide(generation, caller, CHAT, model)
    usage = await call.thread(call.state.records.usage_report, "model", USAGE_SINCE)
    return {
        "model": model,
        "served": isinstance(found, Decision),
        "lines": list(lines(generation, caller, model, found, call.state.providers.lessons, usage)),
    }


async def warm(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/warm`: make the providers load models and the fixed part of their prompts."""
    names = (await call.document()).get("models", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest("`models` must be a list of names.", param="models")
    return {"models": await call.state.warm(names)}


async def list_clients(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/connect`: the clients with a recipe, and the addresses of this proxy."""
    clients = [{"name": name, "title": title} for name, (title, _) in RECIPES.items()]
    return {"clients": clients, "addresses": call.state.addresses()}


async def connect(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/connect/CLIENT?model=&url=`: what to enter in that client."""
    assert call.caller is not None
    generation = call.state.generation
    recipe = RECIPES.get(call.names[0])
    if recipe is None:
        raise NotFound(f"There is no recipe for '{call.names[0][:64]}'.", code="client_not_found")
    listed = await visible_models(call.state, generation, call.caller)
    model = call.argument("model")
    keys = generation.gate.keys_required
    place = RecipePlace(
        url=(call.argument("url") or next(iter(call.state.addresses()), "http://127.0.0.1:8000")).rstrip("/"),
        key=KEY_PLACE if keys else NO_KEY,
        key_hint="A key of one of your groups: create one under Keys and budgets."
        if keys
        else "No key is needed on this network; enter anything.",
        models=tuple(listed),
        model=model or next((str(entry["id"]) for entry in listed), "echo"),
        chosen=bool(model),
        augmented=frozenset(generation.snapshot.models),
    )
    return {"client": call.names[0], "title": recipe[0], "text": recipe[1](place)}


async def forget(call: AdminCall) -> dict[str, Any]:
    """`DELETE /admin/lessons/CONNECTION?model=`: forget what one model refused; without `model`, everything learnt."""
    (name,) = call.names
    if name not in call.state.generation.config.connections:
        raise NotFound(f"There is no connection '{name[:64]}'.", code="connection_not_found")
    model = call.argument("model") or None
    call.state.providers.lessons.forget(name, model)
    return {"connection": name, "model": model, "forgotten": True}

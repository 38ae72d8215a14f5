"""Failover routes: a name for several targets, tried in order or in turn."""

from openai_proxy.globs import is_glob
from openai_proxy.transforms.commands.context import CommandContext, CommandError, did_you_mean
from openai_proxy.transforms.commands.parser import CommandCall
from openai_proxy.transforms.commands.registry import command
from openai_proxy.transforms.sessions import SessionRoute

MAX_ROUTES = 50  # per session
MAX_TARGETS = 20
_ODD = frozenset("\"'\\${}<>`")


@command("create-failover-route", "Create a route, a model name of your own.", "name=N, policy=ordered|round_robin")
def create(call: CommandCall, context: CommandContext) -> str:
    """An existing route keeps its targets; its policy may change."""
    routes = _Routes(context, call)
    name = _name(call)
    policy = (call.get("policy") or "ordered").lower().replace("-", "_")
    if policy not in ("ordered", "round_robin"):
        raise CommandError("The policy is ordered or round_robin.")
    route = routes.find(name)
    existed = route is not None
    if route is None:
        route = SessionRoute()
        if not routes.everywhere and len(context.session.routes) >= MAX_ROUTES:
            raise CommandError(f"A session has at most {MAX_ROUTES} routes.")
    route.policy = policy
    for target in _targets(call, context):
        _place(route, target, len(route.targets))
    routes.keep(name, route)
    done = f"Route {name} is {'changed' if existed else 'created'}"
    return f"{done}." if route.targets else f"{done}; give it targets with {context.prefix}route-append."


@command("route-append", "Add a target at the end of a route.", "name=N, target=connection.model")
def append(call: CommandCall, context: CommandContext) -> str:
    """The target is tried last."""
    return _add(call, context, last=True)


@command("route-prepend", "Add a target at the front of a route.", "name=N, target=connection.model")
def prepend(call: CommandCall, context: CommandContext) -> str:
    """The target is tried first."""
    return _add(call, context, last=False)


@command("route-list", "Show the targets of a route.", "name=N")
def list_targets(call: CommandCall, context: CommandContext) -> str:
    """In order."""
    name = _name(call)
    return _described(name, _Routes(context, call).existing(name))


@command("route-clear", "Remove all targets from a route.", "name=N")
def clear(call: CommandCall, context: CommandContext) -> str:
    """The name stays."""
    name = _name(call)
    routes = _Routes(context, call)
    route = routes.existing(name)
    route.targets.clear()
    routes.keep(name, route)
    return f"Route {name} has no targets now."


@command("delete-failover-route", "Delete a route.", "name=N")
def delete(call: CommandCall, context: CommandContext) -> str:
    """Delete name and targets."""
    name = _name(call)
    routes = _Routes(context, call)
    routes.existing(name)
    routes.keep(name, None)
    return f"Route {name} is deleted."


@command("list-failover-routes", "Show all routes.")
def list_routes(call: CommandCall, context: CommandContext) -> str:
    """Those of the session, then those of everyone."""
    own = [_described(name, route) for name, route in sorted(context.session.routes.items())]
    shared = [
        f"{_described(name, SessionRoute(rule.policy, list(rule.targets)))} (for everyone)"
        for name, rule in context.host.config.routing.items()
        if not is_glob(name) and name not in context.session.routes
    ]
    return "\n".join(own + shared) or "There are no routes."


class _Routes:
    """The routes a command applies to: the session's, or the global ones."""

    def __init__(self, context: CommandContext, call: CommandCall) -> None:
        self._context = context
        self.everywhere = context.is_global(call)

    def find(self, name: str) -> SessionRoute | None:
        context = self._context
        if not self.everywhere:
            return context.session.routes.get(name)
        if name in context.global_routes:
            return context.global_routes[name]
        rule = context.host.config.routing.get(name)
        if rule is not None:
            return SessionRoute(rule.policy, list(rule.targets))
        policy = context.drafts.get(name)
        return SessionRoute(policy) if policy is not None else None

    def existing(self, name: str) -> SessionRoute:
        route = self.find(name)
        if route is None:
            context = self._context
            known = context.host.config.routing if self.everywhere else context.session.routes
            raise CommandError(f'There is no route "{name}".{did_you_mean(name, known)}')
        return route

    def keep(self, name: str, route: SessionRoute | None) -> None:
        context = self._context
        if not self.everywhere:
            if route is None:
                del context.session.routes[name]
            else:
                context.session.routes[name] = route
            return
        context.global_routes[name] = route
        context.new_drafts[name] = route.policy if route is not None and not route.targets else None
        if route is not None and route.targets:
            plain = route.policy == "ordered"
            value = list(route.targets) if plain else {"targets": list(route.targets), "policy": route.policy}
            context.change_globally(("routing", name), value)
        elif name in context.host.config.routing:
            context.change_globally(("routing", name), None)
        else:
            context.edits.members.pop(("routing", name), None)


def _add(call: CommandCall, context: CommandContext, *, last: bool) -> str:
    name = _name(call)
    routes = _Routes(context, call)
    route = routes.existing(name)
    targets = _targets(call, context)
    if not targets:
        raise CommandError("Which target? Write target=connection.model.")
    for target in targets:
        _place(route, target, len(route.targets) if last else 0)
    routes.keep(name, route)
    return _described(name, route)


def _place(route: SessionRoute, target: str, position: int) -> None:
    """Put `target` there; a target already in the route is moved, so that repeating the request changes nothing."""
    if target in route.targets:
        index = route.targets.index(target)
        del route.targets[index]
        position -= index < position
    if len(route.targets) >= MAX_TARGETS:
        raise CommandError(f"A route has at most {MAX_TARGETS} targets.")
    route.targets.insert(position, target)


def _targets(call: CommandCall, context: CommandContext) -> list[str]:
    written = [value for key, value in call.arguments if key in ("target", "targets", "element")]
    return [context.target(part.strip()) for value in written for part in value.split(",") if part.strip()]


def _name(call: CommandCall) -> str:
    name = call.get("name") or next((value for key, value in call.arguments if key is None), "")
    if not name:
        raise CommandError("Which route? Write name=NAME.")
    if (
        len(name) > 64
        or is_glob(name)
        or not _ODD.isdisjoint(name)
        or any(c.isspace() or not c.isprintable() for c in name)
    ):
        raise CommandError("The name of a route is one word of at most 64 letters, digits and dashes.")
    return name


def _described(name: str, route: SessionRoute) -> str:
    return f"Route {name} ({route.policy}): {', '.join(route.targets) or 'no targets yet'}."

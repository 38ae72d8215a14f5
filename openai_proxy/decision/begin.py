"""The only place that takes round-robin turns and marks trials: between the decision and the first attempt."""

from openai_proxy.decision.decide import Decision
from openai_proxy.exchange import Target
from openai_proxy.upstream.health import Upstreams


def begin(decision: Decision, upstreams: Upstreams) -> tuple[Target, ...]:
    """The targets of `decision` in the order in which to try them.

    Takes a round-robin route's turn, and marks the first target as tried if its circuit breaker is open. Raises an
    UpstreamError if the only target is known to be failing and was tried a moment ago.
    """
    route, health = decision.route, upstreams.health
    targets = route.targets
    if len(targets) > 1:
        if route.policy == "round_robin":
            targets = health.in_turn(route.rule, targets)
        return health.ordered(targets, decision.model, upstreams.keys)
    if not health.all_healthy:
        health.check_single_target(targets[0], decision.model)
    return targets

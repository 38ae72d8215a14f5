"""The only place that takes turns and books trials: between the decision and the first attempt, once limits allow."""

from openai_proxy.decision.decide import Decision
from openai_proxy.exchange import Target
from openai_proxy.upstream.health import Upstreams


def begin(decision: Decision, upstreams: Upstreams) -> tuple[Target, ...]:
    """The targets of `decision` in the order in which they are to be asked.

    A round-robin route has had its turn, and the first target is marked as tried where its circuit breaker is open.
    Raises an UpstreamError where the only target is known to be in trouble and has been tried a moment ago.
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

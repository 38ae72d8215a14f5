"""What was learnt of a connection's models: `/admin/lessons/…`."""

from typing import Any

from openai_proxy.admin.call import AdminCall
from openai_proxy.errors import NotFound


async def forget(call: AdminCall) -> dict[str, Any]:
    """`DELETE /admin/lessons/CONNECTION?model=`: forget what one model refused, or all of them and the server."""
    (name,) = call.names
    if name not in call.state.generation.config.connections:
        raise NotFound(f"There is no connection '{name[:64]}'.", code="connection_not_found")
    model = call.argument("model") or None
    call.state.providers.lessons.forget(name, model)
    return {"connection": name, "model": model, "forgotten": True}

"""A provider's answer to a request for its models."""

from typing import Any

from openai_proxy.errors import UpstreamAuthError, UpstreamInvalid, UpstreamRedirect
from openai_proxy.exchange import UpstreamResponse
from openai_proxy.upstream.answer_body import answer_json
from openai_proxy.upstream.refusals import CURIOSITY, PeekedResponse, message_in


async def listing(connection: str, response: UpstreamResponse) -> dict[str, Any]:
    """The list object in `response`, which is closed; a bare list counts as its `data`. Raises the UpstreamError
    family.
    """
    try:
        await must_list(connection, response)
        document = await answer_json(response)
    finally:
        response.close()
    return document if isinstance(document, dict) else {"data": document}


def entries_of(connection: str, document: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries with an id of a list object. Raises UpstreamInvalid."""
    listed = document.get("data", document.get("models"))
    if not isinstance(listed, list):
        raise UpstreamInvalid(f"The connection '{connection}' gave no model list.")
    return [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


async def must_list(connection: str, response: UpstreamResponse) -> None:
    """Raise, with the provider's text, unless `response` to a request for models is a 200."""
    status = response.status
    if status == 200:
        return
    if 300 <= status < 400:
        where = next((v.decode("latin-1") for k, v in response.headers if k.lower() == b"location"), "elsewhere")
        raise UpstreamRedirect(
            f"The connection '{connection}' redirects elsewhere; its address is probably wrong.",
            cause=f"redirects to {where[:200]} (HTTP {status}); set api_base to where it leads",
        )
    words = message_in(await PeekedResponse(response).peek(CURIOSITY))
    cause = f"HTTP {status}{f': {words}' if words else ''}"
    if status in (401, 403):
        raise UpstreamAuthError(f"The connection '{connection}' refused its key.", cause=f"refused its key ({cause})")
    raise UpstreamInvalid(
        f"The connection '{connection}' gave no model list (status {status}).",
        code="upstream_no_list" if status in (404, 405, 501) else None,
        cause=f"no model list ({cause})",
    )

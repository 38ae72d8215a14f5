"""What a server hears that wants to ask a person something.

Imports the SDK: reached only through `sdk.py`.
"""

from mcp.client.session import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult


async def decline(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """Nobody is there to be asked. Set after connecting, so that the capability is not declared: a server that asks
    all the same gets a polite no and can finish its call, where the SDK would fail it."""
    return ElicitResult(action="decline")

"""Every private part of the MCP SDK that this package uses, in one place.

Checked with mcp 2.3.0; `tests/mcp/test_sdk_internals.py` fails with any other version until they have been reviewed:

    mcp.client._transport         the pair of streams a transport yields, as types
    mcp.shared._httpx_utils       requests that follow redirects within the origin only
    OAuthClientProvider.context   what a flow knows, set and read from outside (documented, but not promised)
    ClientSession._elicitation_callback     set after connecting, so that the capability is not declared

Imports the SDK: reached only through `sdk.py`.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import anyio
from mcp import Client
from mcp.client._transport import ReadStream, TransportStreams, WriteStream
from mcp.client.session import ClientRequestContext
from mcp.shared._httpx_utils import request_within_origin, sse_within_origin
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from mcp.shared.message import SessionMessage
from mcp_types import ElicitRequestParams, ElicitResult
from pydantic import BaseModel

if TYPE_CHECKING:
    from mcp.client.auth import OAuthClientProvider

__all__ = [
    "READ_AGAINST",
    "MessageStream",
    "ReadStream",
    "TransportStreams",
    "WriteStream",
    "decline_elicitations",
    "learnt",
    "remind",
    "request_within_origin",
    "sse_within_origin",
]

Json = dict[str, Any]

READ_AGAINST = "2.3.0"
"""The version of mcp with which these were reviewed."""


def decline_elicitations(client: Client) -> None:
    """Let a connected client decline every elicitation politely.

    A server that asks although the capability is not declared can then finish its call, which the SDK would fail.
    """
    client.session._elicitation_callback = _decline


async def _decline(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="decline")


class MessageStream(ReadStream[SessionMessage | Exception]):
    """A stream for the SDK to read, whatever its source.

    Subclasses have `receive`, which raises anyio.EndOfStream at the end, and `aclose`.
    """

    @abstractmethod
    async def receive(self) -> SessionMessage | Exception:
        """The next item."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop reading."""

    def __aiter__(self) -> "MessageStream":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> "MessageStream":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def remind(
    provider: "OAuthClientProvider", issuer: Json | None, resource: Json | None, authorization_server: str | None
) -> None:
    """Give an OAuth client what was known before a restart: the SDK stores only tokens and registrations."""
    context = provider.context
    context.oauth_metadata = OAuthMetadata.model_validate(issuer) if issuer is not None else None
    context.protected_resource_metadata = (
        ProtectedResourceMetadata.model_validate(resource) if resource is not None else None
    )
    context.auth_server_url = authorization_server


def learnt(provider: "OAuthClientProvider") -> tuple[Json | None, Json | None, Json | None, str | None]:
    """What an OAuth client knows after a flow: its registration, the issuer's metadata, the resource's, the issuer."""
    context = provider.context
    return (
        _document(context.client_info), _document(context.oauth_metadata),
        _document(context.protected_resource_metadata), context.auth_server_url,
    )  # fmt: skip


def _document(model: BaseModel | None) -> Json | None:
    return model.model_dump(mode="json", exclude_none=True) if model is not None else None

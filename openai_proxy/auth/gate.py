"""Decides whether a request is admitted, before any of its body is read.

keys required (any client key, a validator, or require_api_key)   a known key, from anywhere
otherwise                                                         peers of private networks, safe Host names,
                                                                  and no Origin outside cors.origins
/admin/*, /metrics                                                an admin key, and no Origin but the page's own; a
                                                                  session of the page and the control socket are
                                                                  checked by `admin.access`. Without a configured admin
                                                                  key, some routes also answer a loopback peer with a
                                                                  loopback Host and no forwarding header
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from openai_proxy.auth.cors import OriginRule, is_own_page
from openai_proxy.auth.credentials import bearer, other_key, sent_key
from openai_proxy.auth.keys import ClientKeys
from openai_proxy.auth.peers import (
    host_name,
    host_rule,
    is_loopback,
    is_loopback_name,
    is_private,
    is_within,
    networks,
    remote_address,
)
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.errors import Forbidden, Misdirected, Unauthorized
from openai_proxy.exchange import Caller

if TYPE_CHECKING:
    from openai_proxy.auth.validators import Validator

_FORWARDING = frozenset(
    {"cf-connecting-ip", "client-ip", "forwarded", "true-client-ip", "via", "x-client-ip", "x-cluster-client-ip",
     "x-forwarded", "x-original-host", "x-real-ip"}
)  # fmt: skip
"""Header fields that a reverse proxy adds, besides those that begin with `x-forwarded-`."""


class NotValidated(Unauthorized):
    """The validator has not checked this key recently."""

    def __init__(self) -> None:
        super().__init__("The API key has not been checked yet.")


class Gate:
    """The rules of one configuration, compiled."""

    def __init__(self, config: ProxyConfig, validator: Validator | None = None) -> None:
        self.keys = ClientKeys({n: g.api_keys for n, g in config.groups.items()}, config.admin_api_keys)
        self.keys_required = (
            bool(self.keys) or config.require_api_key or config.check_api_key is not None or validator is not None
        )
        self.origins = OriginRule(config.cors.origins, keys_required=self.keys_required)
        self.forwarding = any(c.forward_auth for c in config.connections.values())
        self._validator = validator
        self._groups = frozenset(config.groups)
        self._host_allowed = host_rule(config.allowed_hosts)
        self._public = config.allow_public_unauthenticated
        self._trusted = networks(config.trusted_proxies)

    def is_proxy(self, peer: str) -> bool:
        """True for the address of a reverse proxy in `trusted_proxies`."""
        return is_within(peer, self._trusted)

    def credential(self, headers: Mapping[str, str]) -> str | None:
        """The client key of a request: Bearer wins over x-api-key, except that with `forward_auth` and required keys
        the bearer is the caller's own for the provider.
        """
        if self.forwarding and self.keys_required:
            return other_key(headers) or bearer(headers.get("Authorization"))
        return sent_key(headers)

    def admit(self, peer: str, headers: Mapping[str, str]) -> Caller:
        """The caller of an API request. Raises Unauthorized, Forbidden or Misdirected, saying what would help.

        Raises NotValidated if a validator must check the key first: see `admitted`.
        """
        remote = self.remote(peer, headers)
        if self.keys_required:
            key = self.credential(headers)
            if key and self._validator is not None:
                known, caller = self._validator.fresh(key, self._groups, remote)
                if not known:
                    raise NotValidated
            else:
                caller = self.keys.find(key, remote) if key else None
            if caller is None:
                raise _no_key() if not key else _wrong_key()
            return caller
        self.check_peer(remote)
        self._check_host(headers)
        self._check_origin(headers, self.origins)
        return Caller(remote)

    def check_peer(self, remote: str) -> None:
        """Raise Forbidden for an address outside the home network that would be served without a key."""
        if not self._public and not is_private(remote):
            raise Forbidden(
                "Only addresses of the home network are served while no client key is required. "
                "Set PROXY_API_KEYS or a group's api_keys, or allow_public_unauthenticated.",
                code="peer_not_allowed",
            )

    async def admitted(self, peer: str, headers: Mapping[str, str]) -> Caller:
        """`admit`, calling the validator if there is one. Also raises InternalError (`validator_error`)."""
        try:
            return self.admit(peer, headers)
        except NotValidated:
            key, validator = self.credential(headers), self._validator
            assert key is not None
            assert validator is not None
            remote = self.remote(peer, headers)
            caller = await validator.ask(key, self._groups, remote)
            if caller is None:
                raise _wrong_key() from None
            return caller

    def admit_admin(self, peer: str, headers: Mapping[str, str], *, at_home: bool = False) -> Caller:
        """The caller of an admin route. Raises Unauthorized or Forbidden.

        `at_home`: without a configured admin key, a program on this machine may use it, too.
        """
        self.check_own_page(headers)
        remote = self.remote(peer, headers)
        if self.keys.has_admins:
            key = sent_key(headers)
            if key and self.keys.is_admin(key):
                return Caller(remote, admin=True)
        elif at_home:
            self._check_at_home(remote, headers)
            return Caller(remote, admin=True)
        raise Unauthorized(
            "An admin key or a session of the page is required: `openai-proxy ui` prints an address that opens one.",
            code="admin_key_required",
        )

    def is_admin(self, peer: str, headers: Mapping[str, str]) -> bool:
        """True if the request carries an admin key."""
        try:
            self.admit_admin(peer, headers)
        except (Unauthorized, Forbidden):
            return False
        return True

    def remote(self, peer: str, headers: Mapping[str, str]) -> str:
        """The caller's address, after `trusted_proxies`."""
        return remote_address(peer, headers, self._trusted) if self._trusted else peer

    @staticmethod
    def check_own_page(headers: Mapping[str, str]) -> None:
        """Raise Forbidden for a request of a web page that is not ours."""
        if not is_own_page(headers):
            raise Forbidden("Other web pages may not administer this proxy.", code="origin_not_allowed")

    def may_change_globally(self, caller: Caller, headers: Mapping[str, str]) -> bool:
        """True if the caller of an API request may use commands with `scope=global` (contract §5).

        That requires an admin key, beside or as a client key, or admission as an admin: by the control socket or with a
        session of the page. An address is no proof: a reverse proxy on this machine has the same one.
        """
        keys = (bearer(headers.get("Authorization")), other_key(headers))
        return caller.admin or any(key and self.keys.is_admin(key) for key in keys)

    def _check_at_home(self, remote: str, headers: Mapping[str, str]) -> None:
        """Raise Forbidden for anyone who may not be a program on this machine."""
        host = host_name(headers.get("Host", ""))
        if (
            not is_loopback(remote)
            or host is None
            or not is_loopback_name(host)
            or any(_forwards(name.lower()) for name in headers)
        ):
            raise Forbidden(
                "Without an admin key only programs on the proxy's own machine are answered. Set admin_api_keys, or "
                "open the page by the address that `openai-proxy ui` prints.",
                code="admin_not_allowed",
            )

    def _check_host(self, headers: Mapping[str, str]) -> None:
        host = headers.get("Host", "")
        name = host_name(host)
        if name is None or not self._host_allowed(name):
            raise Misdirected(
                "This Host name is not served while no client key is required. Add it to allowed_hosts, or set keys.",
                cause=f'the Host name "{host[:80]}" is not served while no client key is required: add it to '
                "allowed_hosts, or set keys",
            )

    @staticmethod
    def _check_origin(headers: Mapping[str, str], rule: OriginRule) -> None:
        origin = headers.get("Origin")
        if origin is not None and not rule.allows(origin, headers.get("Host")):
            raise Forbidden(
                "Web pages of this origin are not served. Add it to cors.origins to allow it.",
                code="origin_not_allowed",
                cause=f'web pages of the origin "{origin[:80]}" are not served: add it to cors.origins to allow it',
            )


def _forwards(name: str) -> bool:
    return name in _FORWARDING or name.startswith("x-forwarded-")


def _no_key() -> Unauthorized:
    return Unauthorized(
        "An API key is required: send it as a bearer token or as x-api-key.", headers={"WWW-Authenticate": "Bearer"}
    )


def _wrong_key() -> Unauthorized:
    return Unauthorized("This API key is not known here.", headers={"WWW-Authenticate": "Bearer"})

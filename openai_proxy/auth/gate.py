"""Who is served: the one place that decides whether a request comes in, before any of its body is read.

keys required (any client key, a validator, or require_api_key)   a known key, from anywhere
otherwise                                                         peers of private networks, safe Host names,
                                                                  and no Origin outside cors.origins
/admin/*, /metrics, the status page                               an admin key; where none is configured, a
                                                                  loopback peer with a loopback Host, no
                                                                  forwarding header, no foreign Origin
"""

from collections.abc import Mapping

from openai_proxy.auth.cors import OriginRule
from openai_proxy.auth.keys import KeyRing
from openai_proxy.auth.peers import (
    host_name,
    host_rule,
    is_loopback,
    is_loopback_name,
    is_private,
    networks,
    remote_address,
)
from openai_proxy.auth.validators import Validator
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.errors import Forbidden, Misdirected, Unauthorized
from openai_proxy.exchange import Caller

_FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization: Bearer` value (RFC 6750 §2.1), or None."""
    if authorization is not None and authorization[:7].lower() == "bearer ":
        return authorization[7:].strip() or None
    return None


class NotAsked(Unauthorized):
    """The validator has not been asked about this key lately."""

    def __init__(self) -> None:
        super().__init__("The API key has not been checked yet.")


class Gate:
    """The rules of one configuration, compiled."""

    def __init__(self, config: ProxyConfig, validator: Validator | None = None) -> None:
        self.keys = KeyRing({n: g.api_keys for n, g in config.groups.items()}, config.admin_api_keys)
        self.keys_required = (
            bool(self.keys) or config.require_api_key or config.check_api_key is not None or validator is not None
        )
        self.origins = OriginRule(config.cors.origins, keys_required=self.keys_required)
        # Keys of clients guard nothing of an admin's: where every page may ask for answers, none may administrate.
        own = "auto" if config.cors.origins == "auto" or "*" in config.cors.origins else config.cors.origins
        self._admin_origins = OriginRule(own, keys_required=False)
        self.forwarding = any(c.forward_auth for c in config.connections.values())
        self._validator = validator
        self._groups = frozenset(config.groups)
        self._host_allowed = host_rule(config.allowed_hosts)
        self._public = config.allow_public_unauthenticated
        self._trusted = networks(config.trusted_proxies)

    def credential(self, headers: Mapping[str, str]) -> str | None:
        """The client key of a request: Bearer wins over x-api-key, except that with `forward_auth` and required keys
        the bearer is the caller's own for the provider."""
        token = bearer(headers.get("Authorization"))
        if self.forwarding and self.keys_required:
            return headers.get("x-api-key") or token
        return token or headers.get("x-api-key")

    def admit(self, peer: str, headers: Mapping[str, str]) -> Caller:
        """The caller of an API request. Raises Unauthorized, Forbidden or Misdirected, saying what would help.

        Raises NotAsked where a validator has to be asked first: see `admitted`.
        """
        remote = remote_address(peer, headers, self._trusted) if self._trusted else peer
        if self.keys_required:
            key = self.credential(headers)
            if key and self._validator is not None:
                known, caller = self._validator.fresh(key, self._groups, remote)
                if not known:
                    raise NotAsked
            else:
                caller = self.keys.find(key, remote) if key else None
            if caller is None:
                raise _no_key() if not key else _wrong_key()
            return caller
        if not self._public and not is_private(remote):
            raise Forbidden(
                "Only addresses of the home network are served while no client key is required. "
                "Set PROXY_API_KEYS or a group's api_keys, or allow_public_unauthenticated.",
                code="peer_not_allowed",
            )
        self._check_host(headers)
        self._check_origin(headers, self.origins)
        return Caller(remote)

    async def admitted(self, peer: str, headers: Mapping[str, str]) -> Caller:
        """`admit`, asking the validator where there is one. Raises InternalError besides (`validator_error`)."""
        try:
            return self.admit(peer, headers)
        except NotAsked:
            key, validator = self.credential(headers), self._validator
            assert key is not None
            assert validator is not None
            remote = remote_address(peer, headers, self._trusted) if self._trusted else peer
            caller = await validator.ask(key, self._groups, remote)
            if caller is None:
                raise _wrong_key() from None
            return caller

    def admit_admin(self, peer: str, headers: Mapping[str, str]) -> Caller:
        """The caller of an admin page. Raises Unauthorized or Forbidden."""
        remote = remote_address(peer, headers, self._trusted) if self._trusted else peer
        if self.keys.has_admins:
            key = bearer(headers.get("Authorization")) or headers.get("x-api-key")
            if not key or not self.keys.is_admin(key):
                raise Unauthorized("An admin key is needed here.", code="admin_key_required")
            return Caller(remote, admin=True)
        self._check_at_home(remote, headers)
        return Caller(remote, admin=True)

    def is_admin(self, peer: str, headers: Mapping[str, str]) -> bool:
        """True if the caller of an API request has the rights of an admin besides."""
        try:
            self.admit_admin(peer, headers)
        except (Unauthorized, Forbidden):
            return False
        return True

    def may_change_house(self, peer: str, headers: Mapping[str, str]) -> bool:
        """True if the caller of an API request may command with `scope=global` (contract §5).

        That is an admin key, beside a client key or as one, or a loopback peer, also where there are admin keys.
        """
        keys = (bearer(headers.get("Authorization")), headers.get("x-api-key"))
        if any(key and self.keys.is_admin(key) for key in keys):
            return True
        try:
            self._check_at_home(remote_address(peer, headers, self._trusted) if self._trusted else peer, headers)
        except Forbidden:
            return False
        return True

    def _check_at_home(self, remote: str, headers: Mapping[str, str]) -> None:
        """Raises Forbidden for whoever is not surely a program on this machine."""
        host = host_name(headers.get("Host", ""))
        if (
            not is_loopback(remote)
            or host is None
            or not is_loopback_name(host)
            or any(name in headers for name in _FORWARDING)
        ):
            raise Forbidden(
                "Admin pages are served to this machine alone. Set admin_api_keys to reach them from elsewhere.",
                code="admin_not_allowed",
            )
        self._check_origin(headers, self._admin_origins)

    def _check_host(self, headers: Mapping[str, str]) -> None:
        host = headers.get("Host", "")
        name = host_name(host)
        if name is None or not self._host_allowed(name):
            raise Misdirected(
                "This Host name is not served while no client key is required. Add it to allowed_hosts, or set keys."
            )

    @staticmethod
    def _check_origin(headers: Mapping[str, str], rule: OriginRule) -> None:
        origin = headers.get("Origin")
        if origin is not None and not rule.allows(origin, headers.get("Host")):
            raise Forbidden(
                "Web pages of this origin are not served. Add it to cors.origins to allow it.",
                code="origin_not_allowed",
            )


def _no_key() -> Unauthorized:
    return Unauthorized(
        "An API key is needed: send it as a bearer token or as x-api-key.", headers={"WWW-Authenticate": "Bearer"}
    )


def _wrong_key() -> Unauthorized:
    return Unauthorized("This API key is not known here.", headers={"WWW-Authenticate": "Bearer"})

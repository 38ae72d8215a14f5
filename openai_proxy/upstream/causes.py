"""Why a provider could not be reached, in words for the owner: these may contain hosts, ports and addresses."""

import errno
import socket
import ssl

from openai_proxy.errors import UpstreamError, UpstreamUnreachable

_TIMEOUTS = frozenset({errno.ETIMEDOUT, errno.EHOSTDOWN})


class TunnelRefused(OSError):
    """The proxy did not open the tunnel; the text says why, for the owner."""


def is_asleep(error: UpstreamError) -> bool:
    """True if `error` is typical of a machine that is asleep or still starting."""
    return isinstance(error, UpstreamUnreachable) or error.code == "upstream_connect_timeout"


def of_connecting(error: Exception, host: str, port: int, *, ca_file: bool) -> str:
    """Why connecting to `host` failed. `ca_file`: the owner's own authority is configured."""
    where = f"{host}:{port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, host, ca_file=ca_file)
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake with {where} failed ({_reason(error)}); is it http:// rather than https://?"
    if isinstance(error, socket.gaierror):
        if error.errno == socket.EAI_AGAIN:
            return f"the name {host} could not be looked up: the name server (DNS) does not answer"
        return f"there is no host called {host} (DNS)"
    if isinstance(error, UnicodeError):
        return f"{host[:80]} cannot be the name of a host"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused by {where}; is it running?"
    if isinstance(error, ConnectionResetError):
        return f"{where} closed the connection at once"
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
        return f"there is no route to {where} from this machine"
    if number == errno.EHOSTUNREACH or number in _TIMEOUTS:
        return f"{where} cannot be reached: no machine answers at that address; is it switched on?"
    if number in (errno.EMFILE, errno.ENFILE):
        return "no file descriptors are left for another connection"
    text_of_error = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"{where}: {text_of_error[:1].lower()}{text_of_error[1:120]}"


def of_proxy(error: Exception, host: str, port: int) -> str:
    """Why the HTTP proxy at `host` failed."""
    if isinstance(error, TunnelRefused):
        return str(error)
    return f"the HTTP proxy: {of_connecting(error, host, port, ca_file=True)}"


def _certificate(error: ssl.SSLCertVerificationError, host: str, *, ca_file: bool) -> str:
    text_of_error = getattr(error, "verify_message", "") or "it is not valid"
    hint = ""
    if getattr(error, "verify_code", 0) in (18, 19, 20, 21):  # self-signed, or an unknown issuer
        hint = (
            "; is its authority the one in ca_file?" if ca_file
            else "; if it is issued by your own authority, set ca_file on the connection"
        )  # fmt: skip
    return f"the certificate of {host} is not accepted: {text_of_error}{hint}"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "handshake failed").replace("_", " ").lower()

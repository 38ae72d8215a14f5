"""Why a provider could not be reached, in words for the owner: these may name hosts, ports and addresses."""

import errno
import socket
import ssl

from openai_proxy.upstream.tunnel import TunnelRefused

_TIMEOUTS = frozenset({errno.ETIMEDOUT, errno.EHOSTDOWN})


def of_connecting(error: Exception, host: str, port: int, *, ca_file: bool) -> str:
    """Why no connection to `host` came about. `ca_file`: an authority of the owner's own is configured."""
    where = f"{host}:{port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, host, ca_file=ca_file)
    if isinstance(error, ssl.SSLError):
        return f"{where} does not speak TLS as we do ({_reason(error)}); is it http:// rather than https://?"
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
        return f"the network of {where} cannot be reached from here"
    if number == errno.EHOSTUNREACH or number in _TIMEOUTS:
        return f"{where} cannot be reached: no such machine answers; is it switched on?"
    if number in (errno.EMFILE, errno.ENFILE):
        return "no file descriptors are left for another connection"
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"{where}: {said[:1].lower()}{said[1:120]}"


def of_proxy(error: Exception, host: str, port: int) -> str:
    """Why the proxy on the way at `host` was of no use."""
    if isinstance(error, TunnelRefused):
        return str(error)
    return f"the proxy in between: {of_connecting(error, host, port, ca_file=True)}"


def _certificate(error: ssl.SSLCertVerificationError, host: str, *, ca_file: bool) -> str:
    said = getattr(error, "verify_message", "") or "it is not valid"
    hint = ""
    if getattr(error, "verify_code", 0) in (18, 19, 20, 21):  # self-signed, or an issuer nobody here knows
        hint = (
            "; is it another authority than that of ca_file?" if ca_file
            else "; if it comes from an authority of your own, set ca_file on the connection"
        )  # fmt: skip
    return f"the certificate of {host} is not accepted: {said}{hint}"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "handshake failed").replace("_", " ").lower()

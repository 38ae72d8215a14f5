"""Signing in to a remote server, through the whole daemon: with the SDK's own authorization server and a person."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from openai_proxy.cli.control import ask
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.waiting import PATIENCE, eventually

from .oauth_server import OAuthServer, agree, oauth_server, parameters

pytestmark = pytest.mark.slow

SERVER = "notes"


class OAuthDaemon:
    """A daemon with one remote server, and shorthands for its owner."""

    def __init__(self, root: Path, server: OAuthServer, **settings: Any) -> None:
        self.server = server
        self.daemon = Daemon(root, {"connections": {"echo": {"api_type": "echo"}}})
        self.configure(**settings)
        self.daemon.start()

    def configure(self, **settings: Any) -> None:
        """servers.yaml with the one server."""
        self.daemon.write("mcp/servers.yaml", json.dumps({"servers": {SERVER: {"url": self.server.url, **settings}}}))

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request on the control socket."""
        return ask(self.daemon.state_dir, method, path, body)

    def status(self) -> dict[str, Any]:
        """The server's status."""
        found: dict[str, Any] = self.ask("GET", "/admin/status")[1]["mcp_servers"][0]
        return found

    def state(self, wanted: str) -> dict[str, Any]:
        """Wait until the server is in this state."""
        eventually(lambda: self.status()["state"] == wanted, f"the server is {wanted}: {self.status()}")
        return self.status()

    def begin(self) -> str:
        """The address to open."""
        code, answer = self.ask("POST", f"/admin/mcp/{SERVER}/login")
        assert code == 200, answer
        assert answer["state"] == "waiting"
        return str(answer["authorization_url"])

    def come_back(self, address: str) -> tuple[int, str]:
        """Open the redirected address, which must be the daemon's own."""
        parts = urlsplit(address)
        assert (parts.hostname, parts.port) == self.daemon.address
        answer = self.daemon.get(f"{parts.path}?{parts.query}")
        return answer.status, answer.body.decode()

    def sign_in(self) -> str:
        """Sign in completely; returns the address that was opened."""
        opened = self.begin()
        code, page = self.come_back(agree(opened))
        assert code == 200, page
        assert f"Signed in to {SERVER}" in page
        self.state("ready")
        return opened

    def call(self, tool: str = "whoami") -> str:
        """Call a tool from the shell of the owner."""
        done = self.shell("call", SERVER, tool)
        return (done.stdout + done.stderr).strip()

    def shell(self, *arguments: str, stdin: str | None = "") -> "subprocess.CompletedProcess[str]":
        """`openai-proxy mcp …`."""
        command = [sys.executable, "-m", "openai_proxy", "mcp", *arguments, "--config-dir", str(self.daemon.conf_dir)]
        command += ["--state-dir", str(self.daemon.state_dir)]
        environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, env=environ)

    @property
    def kept(self) -> Path:
        """The file with the tokens."""
        return self.daemon.state_dir / "mcp-sign-ins.json"

    def tokens(self) -> dict[str, Any]:
        """What is stored about the server."""
        found: dict[str, Any] = json.loads(self.kept.read_bytes())["servers"][SERVER]
        return found

    def restart(self) -> None:
        """Stop the daemon as systemd does, and start it again."""
        self.daemon.stop()
        self.daemon.start()


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with oauth_server() as found:
        yield found


@pytest.fixture
def oauth_daemon(tmp_path: Path, server: OAuthServer) -> Iterator[OAuthDaemon]:
    found = OAuthDaemon(tmp_path, server, auth="oauth")
    yield found
    found.daemon.stop()
    secrets = [*server.provider.access, *server.provider.refresh]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path != found.kept:
            content = path.read_text(errors="replace")
            assert not [secret for secret in secrets if secret in content], f"{path} contains a token"


def test_a_server_waits_for_a_sign_in_and_then_serves(oauth_daemon: OAuthDaemon) -> None:
    status = oauth_daemon.state("needs-auth")
    assert "mcp login notes" in status["last_error"]
    assert status["auth"] == {"signed_in": False, "scopes": [], "wanted_scopes": [], "expires_at": None}
    opened = parameters(oauth_daemon.sign_in())
    assert opened["code_challenge_method"] == "S256"
    assert opened["resource"] == oauth_daemon.server.url
    assert stat.S_IMODE(oauth_daemon.kept.stat().st_mode) == 0o600
    status = oauth_daemon.status()
    assert status["last_error"] is None or "login" not in status["last_error"]
    assert status["auth"]["signed_in"] is True
    assert status["auth"]["scopes"] == ["basic"]
    assert status["tools"] == ["whoami"]
    assert oauth_daemon.ask("GET", f"/admin/mcp/{SERVER}/login")[1]["state"] == "done"


def test_a_sign_in_survives_restarts_and_reloads_and_is_shared_with_the_shell(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    oauth_daemon.sign_in()
    oauth_daemon.restart()
    oauth_daemon.state("ready")
    assert oauth_daemon.call() == "basic"
    oauth_daemon.configure(auth="oauth", description="edited", timeout=20)
    eventually(lambda: oauth_daemon.daemon.generation() > 1, "the edit is in effect")
    oauth_daemon.state("ready")
    assert len(oauth_daemon.server.provider.asked) == 1
    assert "ready" in oauth_daemon.shell("list").stdout


def test_a_server_that_names_its_metadata_needs_no_configuration(tmp_path: Path, server: OAuthServer) -> None:
    oauth_daemon = OAuthDaemon(tmp_path, server)
    try:
        assert "mcp login" in oauth_daemon.state("needs-auth")["last_error"]
        oauth_daemon.sign_in()
    finally:
        oauth_daemon.daemon.stop()


def test_a_token_is_refreshed_before_it_expires_and_after_a_restart(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    oauth_daemon.server.provider.lifetime = 2
    oauth_daemon.sign_in()
    first = oauth_daemon.tokens()["tokens"]
    eventually(lambda: oauth_daemon.server.provider.refreshes > 0, "a token is refreshed before it expires")
    assert oauth_daemon.call() == "basic"
    assert oauth_daemon.tokens()["tokens"]["refresh_token"] != first["refresh_token"]
    oauth_daemon.restart()
    oauth_daemon.state("ready")
    assert oauth_daemon.call() == "basic"
    assert len(oauth_daemon.server.provider.asked) == 1
    assert not any("register" in request for request in oauth_daemon.server.requests[-3:])


def test_a_revoked_grant_needs_a_new_sign_in_and_is_not_retried(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    oauth_daemon.sign_in()
    oauth_daemon.server.provider.revoke_everything()
    oauth_daemon.ask("POST", f"/admin/mcp/{SERVER}/restart")
    oauth_daemon.state("needs-auth")
    assert oauth_daemon.tokens()["tokens"] is None
    before = len(oauth_daemon.server.requests)
    assert "needs-auth" in oauth_daemon.shell("list").stdout
    assert len(oauth_daemon.server.requests) - before <= 4
    oauth_daemon.sign_in()
    assert oauth_daemon.call() == "basic"


def test_a_refused_refresh_needs_a_new_sign_in_and_a_failed_one_a_retry(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    provider = oauth_daemon.server.provider
    provider.lifetime, provider.break_refresh = 1, True
    oauth_daemon.sign_in()
    eventually(lambda: provider.refreshes > 0, "a refresh is attempted before the token expires")
    provider.access.clear()
    oauth_daemon.ask("POST", f"/admin/mcp/{SERVER}/restart")
    status = oauth_daemon.state("backoff")
    assert "authorization server" in status["last_error"]
    assert status["auth"]["signed_in"] is True
    provider.break_refresh = False
    oauth_daemon.ask("POST", f"/admin/mcp/{SERVER}/restart")
    oauth_daemon.state("ready")
    provider.refuse_refresh = "invalid_grant"
    oauth_daemon.state("needs-auth")  # without any request: the tokens live for one second
    assert oauth_daemon.tokens()["tokens"] is None


def test_more_permissions_are_requested_in_addition_to_the_old_ones(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    oauth_daemon.sign_in()
    oauth_daemon.server.required = ["basic", "admin"]
    oauth_daemon.ask("POST", f"/admin/mcp/{SERVER}/restart")
    status = oauth_daemon.state("needs-auth")
    assert "more permissions" in status["last_error"]
    assert status["auth"]["wanted_scopes"] == ["admin"]
    assert parameters(oauth_daemon.sign_in())["scope"] == "basic admin"
    assert oauth_daemon.call() == "basic admin"


def test_configured_scopes_are_requested(tmp_path: Path, server: OAuthServer) -> None:
    oauth_daemon = OAuthDaemon(tmp_path, server, auth={"type": "oauth", "scopes": ["basic", "extra"]})
    try:
        oauth_daemon.state("needs-auth")
        assert parameters(oauth_daemon.sign_in())["scope"] == "basic extra"
    finally:
        oauth_daemon.daemon.stop()


def test_the_shell_prints_the_address_and_ends_after_the_sign_in(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    command = [sys.executable, "-u", "-m", "openai_proxy", "mcp", "login", SERVER]
    command += ["--config-dir", str(oauth_daemon.daemon.conf_dir), "--state-dir", str(oauth_daemon.daemon.state_dir)]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as shell:
        assert shell.stdout is not None
        address = next(line.strip() for line in shell.stdout if line.startswith("http"))
        assert oauth_daemon.come_back(agree(address))[0] == 200
        rest, _ = shell.communicate(timeout=PATIENCE)
    assert "Signed in to notes." in rest
    assert shell.returncode == 0


def test_the_redirected_address_can_be_pasted(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    command = [sys.executable, "-u", "-m", "openai_proxy", "mcp", "login", SERVER]
    command += ["--config-dir", str(oauth_daemon.daemon.conf_dir), "--state-dir", str(oauth_daemon.daemon.state_dir)]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, env=environ, **pipes) as shell:
        assert shell.stdout is not None
        address = next(line.strip() for line in shell.stdout if line.startswith("http"))
        out, err = shell.communicate(f"nonsense\n{agree(address)}\n", timeout=PATIENCE)
    assert "no state" in err
    assert "Signed in to notes." in out
    assert shell.returncode == 0
    oauth_daemon.state("ready")


def test_logout_forgets_and_revokes_the_tokens(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    oauth_daemon.sign_in()
    done = oauth_daemon.shell("logout", SERVER)
    assert (done.returncode, done.stdout) == (0, "Signed out of notes.\n")
    oauth_daemon.state("needs-auth")
    assert json.loads(oauth_daemon.kept.read_bytes())["servers"] == {}
    assert oauth_daemon.server.provider.revoked == 1
    assert oauth_daemon.shell("logout", SERVER).stdout == "Nobody was signed in to notes.\n"
    oauth_daemon.sign_in()


def test_an_unknown_callback_does_not_disturb_a_sign_in(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    for query in ("", "?code=a", "?code=a&state=b", "?state=", "?error=access_denied&state=x"):
        assert oauth_daemon.daemon.get(f"/oauth/callback{query}").status == 404
    opened = oauth_daemon.begin()
    assert oauth_daemon.daemon.get("/oauth/callback?code=a&state=wrong").status == 404
    redirected = agree(opened)
    code, page = oauth_daemon.come_back(redirected)
    assert (code, "Signed in to notes" in page) == (200, True)
    assert oauth_daemon.come_back(redirected)[0] == 404  # it is valid only once
    oauth_daemon.state("ready")


def test_a_declined_sign_in_is_reported(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    state = parameters(oauth_daemon.begin())["state"]
    query = urlencode({"error": "access_denied", "state": state, "error_description": "<b>no</b>"})
    code, page = oauth_daemon.come_back(f"http://127.0.0.1:{oauth_daemon.daemon.port}/oauth/callback?{query}")
    assert code == 502
    assert "Access was denied." in page
    assert oauth_daemon.ask("GET", f"/admin/mcp/{SERVER}/login")[1]["error"] == "access was denied"
    oauth_daemon.sign_in()


def test_a_second_sign_in_joins_the_first_and_can_be_cancelled(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    assert oauth_daemon.begin() == oauth_daemon.begin()
    assert oauth_daemon.ask("DELETE", f"/admin/mcp/{SERVER}/login")[1]["state"] == "failed"
    assert oauth_daemon.ask("POST", "/admin/mcp/nobody/login")[0] == 404


def test_the_page_may_set_the_redirect_address(oauth_daemon: OAuthDaemon) -> None:
    oauth_daemon.state("needs-auth")
    for base, redirect in (
        ("https://house.example/proxy/", "https://house.example/proxy/oauth/callback"),
        ("http://localhost:1234/", "http://localhost:1234/oauth/callback"),
        ("http://192.168.1.4:8000/", f"http://127.0.0.1:{oauth_daemon.daemon.port}/oauth/callback"),
    ):
        code, answer = oauth_daemon.ask("POST", f"/admin/mcp/{SERVER}/login", {"base": base})
        assert (code, answer["redirect_uri"]) == (200, redirect)
        assert parameters(answer["authorization_url"])["redirect_uri"] == redirect

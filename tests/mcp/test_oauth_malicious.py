"""Servers that lie during a sign-in: each gets a clear reason, nothing is stored, no other host is contacted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from openai_proxy.errors import UpstreamError
from openai_proxy.secrets import vault
from openai_proxy.tools.mcp.oauth import account, http, sign_in
from openai_proxy.tools.mcp.oauth.credentials import Credentials, CredentialStore
from openai_proxy.tools.mcp.oauth.sign_ins import SignIns

from .conftest import Config
from .lying_server import LyingServer, lying_server

HERE = "http://127.0.0.1:1/oauth/callback"
METADATA = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource/mcp"


@pytest.fixture
async def server() -> AsyncIterator[LyingServer]:
    async with lying_server() as found:
        yield found


class SignInClient:
    """Sign-ins alone, without a supervisor."""

    def __init__(self, path: Path, server: LyingServer, **more: Any) -> None:
        self.signed_in: list[str] = []
        self.path = path / "sign-ins.json"
        self.sign_ins = SignIns(self.path, self.signed_in.append, lambda name: None)
        self.config = Config(name="liar", type="streamablehttp", url=server.url, **more)

    async def begin(self) -> dict[str, str]:
        """The parameters of the address to open."""
        async with asyncio.timeout(30):
            begun = await self.sign_ins.begin(self.config, HERE)
        return {name: values[0] for name, values in parse_qs(urlsplit(begun["authorization_url"]).query).items()}

    async def refused(self) -> str:
        """Why it cannot begin."""
        with pytest.raises(UpstreamError) as failure:
            await self.begin()
        return failure.value.message

    async def outcome(self, **more: str) -> str:
        """The outcome once the person has agreed."""
        state = (await self.begin())["state"]
        async with asyncio.timeout(30):
            return (await self.sign_ins.callback({"code": "the-code", "state": state, **more}))[1]


@pytest.fixture
async def sign_in_client(tmp_path: Path, server: LyingServer) -> AsyncIterator[SignInClient]:
    found = SignInClient(tmp_path, server)
    yield found
    await found.sign_ins.aclose()


async def test_an_honest_server_is_accepted(sign_in_client: SignInClient, server: LyingServer) -> None:
    assert await sign_in_client.outcome(iss=server.origin) == ""
    assert sign_in_client.signed_in == ["liar"]
    assert "access-of-a-liar" not in vault.scrub("Bearer access-of-a-liar")


async def test_metadata_of_another_issuer(sign_in_client: SignInClient, server: LyingServer) -> None:
    server.lies[METADATA] = {"issuer": "http://127.0.0.1:9"}
    assert "issuer mismatch" in await sign_in_client.refused()
    assert "POST /register" not in server.seen


async def test_an_answer_of_another_issuer_or_of_none(sign_in_client: SignInClient, server: LyingServer) -> None:
    assert "iss mismatch" in await sign_in_client.outcome(iss="https://evil.example")
    assert "missing iss" in await sign_in_client.outcome()
    assert "POST /token" not in server.seen
    assert not sign_in_client.path.exists()


async def test_a_token_endpoint_that_redirects_elsewhere(sign_in_client: SignInClient, server: LyingServer) -> None:
    async with lying_server() as elsewhere:
        server.lies["/token"] = {"status": 307, "headers": {"Location": f"{elsewhere.origin}/token?with=code"}}
        outcome = await sign_in_client.outcome(iss=server.origin)
        assert "issued no token" in outcome
        assert "not followed" in outcome
        assert elsewhere.seen == []


async def test_a_redirect_within_the_origin_is_followed(sign_in_client: SignInClient, server: LyingServer) -> None:
    server.lies["/token"] = {"status": 307, "headers": {"Location": "/token/"}}
    outcome = await sign_in_client.outcome(iss=server.origin)
    assert "POST /token/" in server.seen
    assert "issued no token" in outcome


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"status": 400, "text": '{"error": "invalid_grant"}'}, "invalid_grant"),
        ({"status": 200, "text": "<h1>hello</h1>"}, "issued no token"),
        ({"token_type": "mac"}, "issued no token"),
        ({"access_token": None}, "issued no token"),
        ({"status": 500, "text": "no"}, "500"),
        ("endless", "too large"),
    ],
)
async def test_a_token_endpoint_with_an_invalid_answer(
    sign_in_client: SignInClient, server: LyingServer, lie: Any, words: str
) -> None:
    server.lies["/token"] = lie
    assert words in await sign_in_client.outcome(iss=server.origin)
    assert not sign_in_client.path.exists()
    assert sign_in_client.signed_in == []


async def test_a_resource_that_is_another_server(sign_in_client: SignInClient, server: LyingServer) -> None:
    server.lies[RESOURCE] = {"resource": "https://elsewhere.example/mcp"}
    assert "does not match" in await sign_in_client.refused()


async def test_a_server_without_registration(sign_in_client: SignInClient, server: LyingServer) -> None:
    server.lies["/register"] = {"status": 403, "text": "no"}
    assert "set a client_id under auth" in await sign_in_client.refused()


async def test_a_registration_for_an_unknown_method(sign_in_client: SignInClient, server: LyingServer) -> None:
    server.lies["/register"] = {"token_endpoint_auth_method": "tls_client_auth"}
    assert "unsupported" in await sign_in_client.refused()


async def test_metadata_at_an_address_it_may_not_name(sign_in_client: SignInClient, server: LyingServer) -> None:
    server.lies[RESOURCE] = {"authorization_servers": ["http://169.254.169.254/latest"]}
    assert "a link-local address" in await sign_in_client.refused()
    server.lies["/mcp"] = 'Bearer resource_metadata="http://169.254.169.254/latest/meta-data"'
    assert "a link-local address" in await sign_in_client.refused()


async def test_a_silent_server_times_out(
    sign_in_client: SignInClient, server: LyingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_TOTAL", 0.2)
    server.lies[METADATA] = "silence"
    assert "did not answer in time" in await sign_in_client.refused()


async def test_an_unfinished_sign_in_times_out(sign_in_client: SignInClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "PATIENCE", 0.1)
    await sign_in_client.begin()
    async with asyncio.timeout(20):
        status = await sign_in_client.sign_ins.ended("liar", 20)
    assert status["state"] == "failed"
    assert status["error"].startswith("nobody finished it within")


async def test_a_server_that_requires_no_sign_in(sign_in_client: SignInClient, server: LyingServer) -> None:
    server.lies["/mcp"] = {"status": 200, "text": "hello"}
    assert "does not require signing in" in await sign_in_client.refused()


async def test_a_configured_client_authenticates_as_the_server_requires(tmp_path: Path, server: LyingServer) -> None:
    class Given:
        client_id, client_secret, scopes = "given", "the-given-secret", ("a", "b")
        redirect_uri = "https://house.example/oauth/callback"

    for methods, place in ((["client_secret_basic"], "basic"), (["client_secret_post"], "post"), (None, "basic")):
        server.lies[METADATA] = {"token_endpoint_auth_methods_supported": methods} if methods else {}
        sign_in_client = SignInClient(tmp_path, server, auth=Given())
        opened = await sign_in_client.begin()
        assert (opened["client_id"], opened["scope"]) == ("given", "a b")
        assert opened["redirect_uri"] == Given.redirect_uri
        name, outcome = await sign_in_client.sign_ins.callback(
            {"code": "c", "state": opened["state"], "iss": server.origin}
        )
        assert (name, outcome) == ("liar", "")
        kept = CredentialStore(sign_in_client.path).get("liar")
        assert kept is not None
        assert kept.client is not None
        assert kept.client["token_endpoint_auth_method"] == f"client_secret_{place}"
        await sign_in_client.sign_ins.aclose()
    assert "POST /register" not in server.seen


def test_credentials_are_private_and_bound_to_their_url(tmp_path: Path) -> None:
    path = tmp_path / "sign-ins.json"
    store = CredentialStore(path)
    store.put("a", Credentials(url="http://one/mcp", tokens={"access_token": "t" * 20}))
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{broken")
    assert store.get("a") is None
    blocked = CredentialStore(tmp_path / "missing" / "file")
    blocked.put("a", Credentials(url="http://one/mcp"))
    assert blocked.get("a") is not None  # kept in memory although it cannot be written


async def test_tokens_of_one_url_are_not_sent_to_another(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path / "sign-ins.json")
    store.put("a", Credentials(url="http://one/mcp", tokens={"access_token": "t" * 20}))
    assert await account.OAuthAccount("a", "http://one/mcp", None, store, lambda: None).token() == "t" * 20
    assert await account.OAuthAccount("a", "http://two/mcp", None, store, lambda: None).token() is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("8.8.8.8", "public"),
        ("2001:4860:4860::8888", "public"),
        ("192.168.1.1", "private"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("127.0.0.1", "this machine"),
        ("::1", "this machine"),
        ("0.0.0.0", "this machine"),
        ("::ffff:127.0.0.1", "this machine"),
        ("::ffff:169.254.169.254", "link-local"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("224.0.0.1", "reserved"),
    ],
)
def test_kinds_of_addresses(address: str, kind: str) -> None:
    assert http.kind_of(address) == kind


async def test_addresses_that_a_server_may_name() -> None:
    assert await http.allowed_kinds("http://127.0.0.1:8/mcp") == {"public", "private", "this machine"}
    assert await http.allowed_kinds("http://192.168.1.4/mcp") == {"public", "private"}
    assert await http.allowed_kinds("http://8.8.8.8/mcp") == {"public"}

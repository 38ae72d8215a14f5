"""Commands write data: no variable in it is ever expanded, and no secret of the configuration is revealed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.config.interpolate import expand, literal
from openai_proxy.secrets import Vault
from tests.conftest import DaemonFactory
from tests.harness.daemon import CANARY, Daemon
from tests.harness.upstream import Upstream
from tests.harness.wire import Answer

ADMIN = ("x-api-key", "key-of-the-admin")


@pytest.fixture
def daemon(reuse_daemon: DaemonFactory, upstream: Upstream) -> Daemon:
    """A daemon whose connection `up` has its key from the variable UP_KEY."""
    conf: dict[str, Any] = {
        "connections": {"up": {"api_base": upstream.url, "api_key": "${UP_KEY}", "max_retries": 0}},
        "admin_api_keys": ["key-of-the-admin"],
        "groups": {"family": {"api_keys": ["key-of-the-family"]}},
    }
    return reuse_daemon(conf, env={"UP_KEY": CANARY})


def say(daemon: Daemon, text: str, *headers: tuple[str, str], **more: Any) -> Answer:
    """Send a message; every answer is searched for the key of `up` (`Daemon.wire`)."""
    messages = [{"role": "user", "content": text}]
    return daemon.chat("m-small", messages=messages, key="key-of-the-family", headers=[ADMIN, *headers], **more)


def written(daemon: Daemon) -> str:
    return (daemon.conf_dir / "proxy.yaml").read_text()


LEAKS = ["up.${UP_KEY}", "up.${UP_KEY:-x}", "up.x${UP_KEY}", "up.$${UP_KEY}", "up.env:UP_KEY"]


@pytest.mark.parametrize("target", LEAKS)
@pytest.mark.parametrize("scope", ["global", "session"])
def test_variables_in_a_target_are_never_expanded(daemon: Daemon, upstream: Upstream, target: str, scope: str) -> None:
    session = ("X-Session-ID", "s1")
    for command in (
        f"!/create-failover-route(name=leak, target={target}, scope={scope})",
        f"!/create-failover-route(name=leak, scope={scope})",
        f"!/route-append(name=leak, target={target}, scope={scope})",
        f"!/route-prepend(name=leak, target={target}, scope={scope})",
        "!/list-failover-routes",
        "!/show",
    ):
        assert say(daemon, command, session).complete
    upstream.unclaimed.clear()
    daemon.chat("leak", key="key-of-the-family", headers=[session])
    assert all(CANARY.encode() not in seen.body for seen in upstream.unclaimed)
    assert "${UP_KEY}" in written(daemon)  # the connection's own variable


@pytest.mark.parametrize(
    "command",
    ["!/set(model=KEY)", "!/set(model=xKEYx)", "!/create-failover-route(name=r, target=up.KEY)", "!/help(KEY)"],
)
def test_a_key_cannot_be_a_session_name(daemon: Daemon, upstream: Upstream, command: str) -> None:
    """A key as a session name would be written to disk, since sessions are stored in a file."""
    upstream.unclaimed.clear()
    session = ("X-Session-ID", "s2")
    assert "key" in say(daemon, command.replace("KEY", CANARY), session).json()["choices"][0]["message"]["content"]
    assert say(daemon, f"Hi {command.replace('KEY', CANARY)}", session).status == 400
    assert upstream.unclaimed == []


@pytest.mark.parametrize("value", ["${UP_KEY}", "x${UP_KEY:-y}", "$$", "a$b", "$${UP_KEY}"])
def test_a_default_is_written_literally(daemon: Daemon, upstream: Upstream, value: str) -> None:
    assert say(daemon, f"!/set(model={value}, scope=global)").status == 200
    upstream.unclaimed.clear()
    assert daemon.chat("anything", key="key-of-the-family").status in {200, 404}
    assert json.loads(upstream.unclaimed[-1].body)["model"] == value


def test_a_default_that_cannot_be_escaped_is_refused(daemon: Daemon, upstream: Upstream) -> None:
    before = written(daemon)
    assert "cannot be written" in say(daemon, "!/set(model=env:UP_KEY, scope=global)").body.decode()
    assert written(daemon) == before


@pytest.mark.parametrize("name", ["${UP_KEY}", "a$b", "x{y}", 'a"b', "a\\\\b", "<b>", "`x`"])
def test_a_route_name_must_be_a_plain_word(daemon: Daemon, name: str) -> None:
    before = written(daemon)
    answer = say(daemon, f"!/create-failover-route(name={name}, target=up.m-small, scope=global)")
    assert "is created" not in answer.body.decode()
    assert written(daemon) == before


def test_a_route_or_an_augmented_model_cannot_be_a_default(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    """Otherwise every request would ask the provider for a model of that name."""
    daemon = make_daemon(
        {
            "connections": {"up": {"api_base": upstream.url, "api_key": CANARY}},
            "routing": {"fast": "up.m-small"},
            "admin_api_keys": ["key-of-the-admin"],
            "groups": {"family": {"api_keys": ["key-of-the-family"]}},
        },
        files={"models/helper.yaml": "name: augmented/helper\nupstream_model: m-small\n"},
    )
    before = written(daemon)
    session = ("X-Session-ID", "s1")
    say(daemon, "!/create-failover-route(name=mine, target=up.m-small)", session)
    for name in ("fast", "mine", "augmented/helper"):
        text = say(daemon, f"!/set(model={name}, scope=global)", session).body.decode()
        assert "must be a model of a backend" in text
    assert written(daemon) == before


def test_a_model_that_the_backend_does_not_list_is_mentioned(daemon: Daemon) -> None:
    listed = daemon.get("/v1/models", key="key-of-the-family").json()["data"]
    assert listed
    assert "does not list" not in say(daemon, "!/create-failover-route(name=r, target=up.m-small)").body.decode()
    text = say(daemon, "!/create-failover-route(name=r, target=up.m-smal)").body.decode()
    assert "up does not list" in text
    assert "m-small" in text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    "command",
    [
        "!/set(backend={})",
        "!/route-list(name={})",
        "!/route-append(name=r, target={})",
        "!/x{}",
        "Hi !/set(backend={})",
    ],
)
def test_no_answer_of_ours_contains_a_known_secret(daemon: Daemon, command: str, path: str, stream: bool) -> None:
    assert say(daemon, command.format(CANARY), path=path, stream=stream).complete


def test_no_page_of_ours_contains_a_known_secret(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    """A key that is part of a name is shown as [REDACTED]."""
    key = "key-of-the-house-123456"
    daemon = make_daemon(
        {"connections": {"up": {"api_base": upstream.url, "api_key": key}}, "routing": {f"m-{key}": "up.m-small"},
         "model_listing_mode": "as_is"}
    )  # fmt: skip
    for path in ("/v1/models", "/admin/status", "/health", f"/v1/models/m-{key}", f"/v1/models/x{key}"):
        assert key.encode() not in daemon.get(path).body


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_written_value_is_read_back(text: str) -> None:
    try:
        escaped = literal(text)
    except ValueError:
        assert text.startswith("env:")
        return
    assert expand(escaped, {"UP_KEY": "secret"}) == text


@pytest.mark.parametrize("secret", ["plain-secret", 'quo"ted\\secret', "schlüssel-geheim", "line\nbreak-secret"])
def test_a_secret_is_found_in_every_spelling(secret: str) -> None:
    vault = Vault()
    vault.learn([secret])
    for body in (json.dumps({"a": secret}), json.dumps({"a": secret}, ensure_ascii=False), secret):
        assert b"secret" not in vault.scrub_body(body.encode())
        assert b"geheim" not in vault.scrub_body(body.encode())
    clean = b'{"a": "nothing"}'
    assert vault.scrub_body(clean) is clean


def test_a_placeholder_key_is_not_a_secret() -> None:
    """Local servers often get an arbitrary word as their key; model names that contain it must stay unchanged."""
    vault = Vault()
    vault.learn(["ollama", "LM-Studio", "sk-no-key-required"])
    assert vault.known() == frozenset()
    assert vault.scrub("an ollama model") == "an ollama model"


def test_without_secrets_the_text_is_unchanged() -> None:
    vault = Vault()
    for secrets in (["first-token"], [], []):
        vault.rotate("server", secrets)
    assert vault.scrub("a text") == "a text"

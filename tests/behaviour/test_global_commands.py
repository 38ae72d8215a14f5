"""`scope=global`: what is written to conf/proxy.yaml, by whom, and what is said if it has no effect."""

import os
from typing import Any

import openai
import pytest

from tests.behaviour.chat import Chat, Sent, where
from tests.behaviour.configurations import conf
from tests.conftest import DaemonFactory
from tests.harness.daemon import CANARY, Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.usefixtures("somebody_new")

FILE = """\
# My house.
connections:
  one: &base   # the good one
    api_type: openai
    api_base: {url}
    api_key: {key}
    headers: {{x-connection: one}}
    max_retries: 0
  two:
    <<: *base
    headers: {{x-connection: two}}   # the other one
default_connection: one   # for now

routing:
  # everything else
  "*": "one.*"
"""


@pytest.fixture
def daemon(reuse_daemon: DaemonFactory, upstream: Upstream) -> Daemon:
    return reuse_daemon(FILE.format(url=upstream.url, key=CANARY))


def text(daemon: Daemon) -> str:
    return (daemon.conf_dir / "proxy.yaml").read_text()


def test_a_global_route_is_written_and_serves(daemon: Daemon, upstream: Upstream, seen: Sent) -> None:
    before = text(daemon)
    chat = Chat(daemon, "m-small", owner=True)
    assert "created" in chat.say("!/create-failover-route(name=smart, policy=ordered, scope=global)")
    assert text(daemon) == before  # a route without targets cannot be written
    chat.say("!/route-append(name=smart, target=two.vendor/m-large, scope=global)")
    chat.say("!/route-append(name=smart, target=one.m-small, scope=global)")
    after = text(daemon)
    for line in before.splitlines():
        assert line in after
    assert after.index("smart") < after.index('"*"')
    Chat(daemon, "smart").say("Hi")
    assert where(seen[-1]) == ("two", "vendor/m-large")
    assert "for everyone" in chat.say("!/list-failover-routes")
    assert "two.vendor/m-large, one.m-small" in chat.say("!/route-list(name=smart, scope=global)")
    chat.say("!/delete-failover-route(name=smart, scope=global)")
    assert "smart" not in text(daemon)
    Chat(daemon, "smart").say("Hi")
    assert where(seen[-1]) == ("one", "smart")


def test_global_defaults_are_written_and_applied(daemon: Daemon, seen: Sent) -> None:
    before = text(daemon)
    chat = Chat(daemon, "m-small", owner=True)
    assert chat.say("!/set(redact-api-keys-in-prompts=off, interactive=on, scope=global)").endswith("for everyone.")
    after = text(daemon)
    assert "redact_api_keys_in_prompts: false" in after
    assert "interactive: true" in after
    assert Chat(daemon, "m-small").say("Hi").startswith("This is openai_proxy")
    chat.say("!/unset(redact-api-keys-in-prompts, interactive, scope=global)")
    assert "redact_api_keys_in_prompts" not in text(daemon)
    assert "interactive: true" not in text(daemon)
    for line in before.splitlines():
        assert line in text(daemon)


def test_global_backend_and_model_are_written_and_applied(daemon: Daemon, seen: Sent) -> None:
    chat = Chat(daemon, "m-small", owner=True)
    chat.say("!/set(backend=two, scope=global)")
    assert "default_connection: two   # for now" in text(daemon)
    chat.say("!/set(model=vendor/m-large, scope=global)")
    Chat(daemon, "two:m-small").say("Hi")
    assert where(seen[-1]) == ("two", "vendor/m-large")


@pytest.mark.parametrize("text", ["{} Hi", "Hi\n{}", "Look at this:\n\n{}", "{} !/unknown Hi"])
def test_a_global_change_must_be_the_whole_message(
    reuse_daemon: DaemonFactory, upstream: Upstream, seen: Sent, text: str
) -> None:
    """A command beside other text might be part of something that the owner pasted."""
    daemon = reuse_daemon(conf(upstream))
    before = (daemon.conf_dir / "proxy.yaml").read_text()
    for command in ("!/set(backend=two, scope=global)", "!/create-failover-route(name=r, target=two.m, scope=global)"):
        with pytest.raises(openai.BadRequestError, match="nothing but commands"):
            Chat(daemon, "m-small", owner=True).say(text.format(command))
    assert (daemon.conf_dir / "proxy.yaml").read_text() == before
    assert len(seen) == 0


@pytest.mark.parametrize("stream", [False, True])
def test_an_admin_key_may_change_defaults(make_daemon: DaemonFactory, upstream: Upstream, stream: bool) -> None:
    """Contract §5. The admin key may come beside the client key, or be one."""
    settings: dict[str, Any] = {
        "groups": {"family": {"api_keys": ["key-of-the-family"]}, "owner": {"api_keys": ["key-of-the-owner"]}},
        "admin_api_keys": ["key-of-the-admin", "key-of-the-owner"],
        "trusted_proxies": ["127.0.0.1"],
    }
    daemon = make_daemon(conf(upstream, **settings))
    afar = ("X-Forwarded-For", "192.168.1.7")

    def say(*headers: tuple[str, str]) -> tuple[int, str | None]:
        messages = [{"role": "user", "content": "!/set(backend=two, scope=global)"}]
        answer = daemon.chat("m-small", messages=messages, headers=headers, stream=stream)
        assert ("default_connection: two" in text(daemon)) == (answer.status == 200)
        back = [{"role": "user", "content": "!/set(backend=one, scope=global)"}]
        assert daemon.chat("m-small", messages=back, headers=[owner]).status == 200
        return answer.status, answer.header("x-proxy-error")

    family, owner = ("Authorization", "Bearer key-of-the-family"), ("Authorization", "Bearer key-of-the-owner")
    assert say(family, afar) == (403, "command_refused")
    assert say(family) == (
        403,
        "command_refused",
    )  # local, but so is every client behind a reverse proxy on this machine
    assert say(family, afar, ("x-api-key", "key-of-the-admin"))[0] == 200
    assert say(owner, afar)[0] == 200
    assert say(owner)[0] == 200
    assert say(family, ("x-api-key", "key-of-nobody")) == (403, "command_refused")


@pytest.mark.parametrize("headers", [[], [("X-Forwarded-For", "192.168.1.7")], [("x-api-key", "guessed")]])
@pytest.mark.parametrize(
    "command",
    [
        "!/set(backend=two, scope=global)",
        "!/unset(backend, scope=global)",
        "!/set(redact-api-keys-in-prompts=off, scope=global)",
        "!/create-failover-route(name=r, target=two.m-small, scope=global)",
        "!/delete-failover-route(name=kept, scope=GLOBAL)",
        '!/route-append(name=kept, target=two.m-small, scope="global")',
    ],
)
def test_a_local_address_is_no_proof(
    reuse_daemon: DaemonFactory, upstream: Upstream, headers: list[tuple[str, str]], command: str
) -> None:
    """Behind a reverse proxy on this machine, every client has a loopback address."""
    daemon = reuse_daemon(conf(upstream, trusted_proxies=["127.0.0.1"], routing={"kept": "one.m-small"}))
    before = text(daemon)
    answer = daemon.chat("m-small", messages=[{"role": "user", "content": command}], headers=headers)
    assert (answer.status, answer.json()["error"]["code"]) == (403, "command_refused")
    assert text(daemon) == before


def test_a_setting_overridden_by_the_environment_is_mentioned(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    daemon = make_daemon(conf(upstream), env={"INTERACTIVE_MODE": "false"}, flags=["--backend", "one"])
    said = Chat(daemon, "m-small", owner=True).say("!/set(interactive=on, scope=global)")
    assert "has no effect while the variable INTERACTIVE_MODE" in said
    said = Chat(daemon, "m-small", owner=True).say("!/set(backend=two, scope=global)")
    assert "has no effect while the flag --backend" in said


def test_an_unwritable_file_is_mentioned(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    broken = "connections: {one: {api_type: echo}}\nlimits: [\n" if os.geteuid() == 0 else ""  # root may write anything
    daemon = make_daemon(conf(upstream))
    generation = daemon.generation()
    if broken:
        daemon.write("proxy.yaml", broken)
        eventually(lambda: daemon.generation() > generation, "the broken file was seen")
    else:
        daemon.conf_dir.chmod(0o500)
        (daemon.conf_dir / "proxy.yaml").chmod(0o400)
    try:
        said = Chat(daemon, "m-small", owner=True).say("!/set(backend=two, scope=global)")
    finally:
        daemon.conf_dir.chmod(0o700)
    assert "could not be changed" in said

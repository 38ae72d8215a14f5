"""Commands in a chat as the configuration allows them: flags, groups, access rules, and sessions over a restart."""

import asyncio

import openai
import pytest

from tests.behaviour.chat import Chat, Sent, texts, where
from tests.behaviour.configurations import conf
from tests.conftest import DaemonFactory
from tests.harness.daemon import CANARY
from tests.harness.plays import plain
from tests.harness.upstream import Upstream

pytestmark = pytest.mark.usefixtures("somebody_new")


def test_sessions_survive_a_restart_and_a_reload(make_daemon: DaemonFactory, upstream: Upstream, seen: Sent) -> None:
    daemon = make_daemon(conf(upstream))
    Chat(daemon, "m-small", user="anna").say("!/set(model=other)")
    daemon.edit_conf(lambda c: c.update(session_ttl=1800))
    Chat(daemon, "m-small", user="anna").say("Hi")
    assert where(seen[-1])[1] == "other"
    daemon.stop()
    saved = daemon.state_dir / "sessions.json"
    assert saved.stat().st_mode & 0o777 == 0o600
    assert "anna" not in saved.read_text()
    daemon.start()
    Chat(daemon, "m-small", user="anna").say("Hi")
    assert where(seen[-1])[1] == "other"


def test_interactive_by_configuration_greets_new_conversations(
    make_daemon: DaemonFactory, upstream: Upstream, seen: Sent
) -> None:
    daemon = make_daemon(conf(upstream), flags=["--interactive", "--command-prefix", "$$"])
    chat = Chat(daemon, "m-small", stream=True)
    assert chat.say("Hi").startswith("This is openai_proxy ")
    assert chat.say("And now?") == "Hello world"
    assert chat.say("$$set(model=other) !/help") == "Model is now other.\n\nHello world"
    assert texts(seen[-1])[-1] == "!/help"


def test_a_group_may_be_forbidden_commands(make_daemon: DaemonFactory, upstream: Upstream, seen: Sent) -> None:
    groups = {"kids": {"api_keys": ["key-of-the-kids"], "commands": False}, "family": {"api_keys": ["key-of-family"]}}
    daemon = make_daemon(conf(upstream, groups=groups))
    with pytest.raises(openai.PermissionDeniedError) as caught:
        Chat(daemon, "m-small", key="key-of-the-kids").say("!/set(model=other)")
    assert caught.value.code == "command_refused"
    Chat(daemon, "m-small", key="key-of-the-kids").say("!/set(model=other) Hi")
    assert where(seen[-1]) == ("one", "m-small")
    assert texts(seen[-1]) == ["!/set(model=other) Hi"]
    assert "now other" in Chat(daemon, "m-small", key="key-of-family").say("!/set(model=other)")


def test_access_rules_apply_to_settings_made_by_command(
    make_daemon: DaemonFactory, upstream: Upstream, seen: Sent
) -> None:
    group = {"api_keys": ["key-of-family"], "allowed_connections": ["one"], "allowed_models": ["m-*"]}
    daemon = make_daemon(conf(upstream, groups={"family": group}))
    chat = Chat(daemon, "m-small", key="key-of-family")
    assert "no backend" in chat.say("!/set(backend=two)")
    assert "not available" in chat.say("!/set(model=vendor/m-large)")
    chat.say("!/create-failover-route(name=r)")
    assert "not a target" in chat.say("!/route-append(name=r, target=two.m-small)")
    chat.say("!/route-append(name=r, target=one.vendor/m-large)")
    chat.say("!/set(model=r)")
    with pytest.raises(openai.BadRequestError, match="no targets"):
        chat.say("Hi")
    assert len(seen) == 0


def test_commands_can_be_switched_off(make_daemon: DaemonFactory, upstream: Upstream, seen: Sent) -> None:
    daemon = make_daemon(conf(upstream, commands={"enabled": False}))
    Chat(daemon, "m-small").say("!/set(model=other)")
    assert where(seen[-1]) == ("one", "m-small")
    assert texts(seen[-1]) == ["!/set(model=other)"]


def test_a_request_outside_the_fast_path_gets_its_own_target(
    make_daemon: DaemonFactory, upstream: Upstream, seen: Sent
) -> None:
    """Two requests on one client connection: the second names another model and does not take the fast path."""
    daemon = make_daemon(conf(upstream, routing={"other": "two.elsewhere"}))
    with daemon.wire() as wire:
        assert wire.chat("m-small").answer().status == 200
        messages = [{"role": "user", "content": "!/hello and Hi"}]
        assert wire.chat("other", messages=messages).answer().status == 200
    assert where(seen[-1]) == ("two", "elsewhere")


@pytest.mark.parametrize(
    ("said", "flags"), [("!/hello", []), ("!/set(interactive=on) Hi", []), ("Hi", ["--interactive"])]
)
def test_the_first_greeting_knows_the_number_of_models(
    make_daemon: DaemonFactory, upstream: Upstream, seen: Sent, said: str, flags: list[str]
) -> None:
    async def slowly(_: object) -> None:
        await asyncio.sleep(0.3)

    listing = upstream.play(slowly, plain(b'{"object":"list","data":[{"id":"m-small"},{"id":"m-large"}]}'))
    slow = {"api_type": "openai", "api_base": upstream.url, "api_key": CANARY, "headers": {"x-play": listing.model}}
    connections = {"one": slow, "two": {"api_type": "echo"}}
    daemon = make_daemon({"connections": connections, "default_connection": "two"}, flags=flags)
    assert "one (2 models)" in Chat(daemon, "m-small").say(said)

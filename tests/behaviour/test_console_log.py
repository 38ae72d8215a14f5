"""Contract §1: the banner, a line for each request with the cause in words, and counted repeats."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import FIN, SSE_HEAD, chunk, delta, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port that refuses connections: bound, never listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def lines(daemon: Daemon, part: str) -> list[str]:
    """The lines of stderr with `part` in them, once there is one."""
    try:
        return eventually(lambda: [x for x in daemon.stderr.splitlines() if part in x], f"a line contains: {part}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {daemon.stderr}") from None


def conf(upstream: Upstream, closed_port: int, **more: Any) -> dict[str, Any]:
    return {
        "connections": {
            "up": {"api_base": upstream.url, "api_key": CANARY, "max_retries": 0},
            "dead": {"api_base": f"http://127.0.0.1:{closed_port}/v1", "max_retries": 0},
        },
        "default_connection": "up",
        "routing": {"fast": ["dead.tiny", "up.small"]},
        **more,
    }


def test_the_banner_shows_addresses_and_what_is_served(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    daemon = make_daemon(
        {"connections": {"up": {"api_base": upstream.url}}},
        files={"models/house.yaml": "name: augmented/house\nupstream_model: echo\n"},
    )
    banner = eventually(lambda: daemon.stderr if "clients" in daemon.stderr else "", "the banner is complete")
    assert f"serving on http://127.0.0.1:{daemon.port}/v1" in banner
    assert re.search(r"page +http://127\.0\.0\.1:\d+/admin/login\?code=[\w-]{32}$", banner, re.MULTILINE)
    assert re.search(r"models +augmented/house$", banner, re.MULTILINE)
    assert re.search(r"connections +up \(openai\)$", banner, re.MULTILINE)
    assert re.search(r"clients +every device of this network, without a key", banner)


def test_the_banner_names_what_is_missing(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon("connections:\n  a: {api_base: http://127.0.0.1:9, api_key: '${NOWHERE_SET}'}\n")
    assert "1 problem in the configuration" in lines(daemon, "missing")[0]
    assert lines(daemon, "NOWHERE_SET")
    empty = make_daemon("")
    assert "a provider: `openai-proxy init`" in lines(empty, "missing")[0]


def test_every_finished_request_has_a_line(make_daemon: DaemonFactory, upstream: Upstream, closed_port: int) -> None:
    daemon = make_daemon(conf(upstream, closed_port, groups={"family": {"api_keys": ["sk-client-0123456789"]}}))
    headers = [("Authorization", "Bearer sk-client-0123456789")]
    for number in range(20):
        with daemon.wire() as wire:
            assert wire.chat(f"model-{number}", headers=headers).answer().status == 200
    for number in range(20):
        (line,) = lines(daemon, f" model-{number} ")
        assert re.search(rf"info family  model-{number} → up  200  \d+\.\d\d s  \d+ \+ \d+ tokens", line)


def test_a_streams_line_shows_time_to_first_byte_and_total(
    reuse_daemon: DaemonFactory, upstream: Upstream, closed_port: int
) -> None:
    daemon = reuse_daemon(conf(upstream, closed_port))
    assert daemon.chat("streamed", stream=True).status == 200
    assert re.search(r"streamed → up  200  \d+\.\d\d s, \d+\.\d\d s in all", lines(daemon, "streamed")[0])


def test_a_failed_attempt_is_appended_to_the_line(
    reuse_daemon: DaemonFactory, upstream: Upstream, closed_port: int
) -> None:
    daemon = reuse_daemon(conf(upstream, closed_port))
    assert daemon.chat("fast").status == 200
    (line,) = lines(daemon, "fast → up.small")
    assert f"(tried dead.tiny: connection refused by 127.0.0.1:{closed_port}" in line


Spoil = Callable[[Upstream], str]


def broken_stream(upstream: Upstream) -> str:
    return upstream.play(SSE_HEAD, chunk(delta("half ")), FIN).model


def refused(upstream: Upstream) -> str:
    return upstream.play(plain(b'{"error": {"message": "Quota is used up"}}', "429 Too Many Requests")).model


def a_page(upstream: Upstream) -> str:
    page = b"<html><title>502 Bad Gateway</title><body>nginx</body></html>"
    return upstream.play(plain(page, "503 Service Unavailable", "text/html")).model


@pytest.mark.parametrize(
    ("spoil", "stream", "told"),
    [
        (lambda _: "dead:x", False, "connection refused by 127.0.0.1"),
        (broken_stream, True, "broke off in the middle of its answer"),
        (refused, False, "429  "),
        (refused, False, "Quota is used up"),
        (a_page, False, "502 Bad Gateway"),
    ],
)
def test_the_cause_is_shown_in_words(
    reuse_daemon: DaemonFactory, upstream: Upstream, closed_port: int, spoil: Spoil, stream: bool, told: str
) -> None:
    daemon = reuse_daemon(conf(upstream, closed_port))
    model = spoil(upstream)
    daemon.chat(model, stream=stream)
    line = lines(daemon, f" {model} →")[0]
    assert told in line
    assert " error " in line or " warning " in line
    assert CANARY not in daemon.stderr


def test_repeated_failures_are_one_line_and_a_count(
    make_daemon: DaemonFactory, upstream: Upstream, closed_port: int
) -> None:
    daemon = make_daemon(conf(upstream, closed_port, routing={"*": "dead.*"}))
    for _ in range(12):
        daemon.chat("gone")
    daemon.stop()
    told = [line for line in daemon.stderr.splitlines() if " gone →" in line]
    counted = [int(found[1]) for line in told if (found := re.search(r"\((\d+) more like", line))]
    assert len(told) <= 4
    assert sum(counted) + len([line for line in told if "more like" not in line]) == 12


def test_a_refused_key_is_named_by_its_variable(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    answers = plain(b'{"error": {"message": "Incorrect API key"}}', "401 Unauthorized")
    model = upstream.play(answers).model
    keys = {"api_keys": ["${FIRST_KEY}", "sk-literal-0123456789"], "max_retries": 0}
    daemon = make_daemon(
        {"connections": {"up": {"api_base": upstream.url, **keys}}}, env={"FIRST_KEY": "sk-first-0123456789"}
    )
    assert daemon.chat(model).status == 502
    (by_name,) = lines(daemon, "up: FIRST_KEY was answered with 401")
    assert by_name.endswith("Incorrect API key")
    assert lines(daemon, "up: key 2 of up (proxy.yaml:")


def test_the_request_log_can_be_turned_off(make_daemon: DaemonFactory, upstream: Upstream, closed_port: int) -> None:
    daemon = make_daemon(conf(upstream, closed_port), flags=["--no-request-log"])
    daemon.chat("quiet")
    daemon.chat("dead:loud")
    daemon.stop()
    assert "quiet" not in daemon.stderr
    assert "loud →" not in daemon.stderr


def test_as_json_every_request_is_an_object(make_daemon: DaemonFactory, upstream: Upstream, closed_port: int) -> None:
    daemon = make_daemon(conf(upstream, closed_port), flags=["--log-format", "json"])
    daemon.chat("fast")
    (line,) = lines(daemon, '"request"')
    assert json.loads(line)["request"]["attempts"][0]["cause"].startswith("connection refused")
    daemon.stop()
    assert all(json.loads(line)["message"] for line in daemon.stderr.splitlines())


def test_under_journald_lines_have_priorities_instead_of_times(
    make_daemon: DaemonFactory, upstream: Upstream, closed_port: int
) -> None:
    daemon = make_daemon(conf(upstream, closed_port), env={"JOURNAL_STREAM": "9:9"})
    daemon.chat("fine")
    daemon.chat("dead:x")
    assert lines(daemon, "fine →")[0].startswith("<6>127.0.0.1  fine → up")
    assert lines(daemon, "dead:x →")[0].startswith("<3>127.0.0.1  dead:x →")
    daemon.stop()
    assert all(re.match(r"<[3-6]>", line) for line in daemon.stderr.splitlines())

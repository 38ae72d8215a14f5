"""Contract §1: refused requests, and those that failed before an answer, have their log line, too."""

import re

import pytest

from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon, free_port
from tests.harness.waiting import eventually

KEY = "sk-family-0123456789"


def lines(daemon: Daemon, part: str) -> list[str]:
    """The lines of stderr with `part` in them, once there is one."""
    return eventually(lambda: [x for x in daemon.stderr.splitlines() if part in x], f"a line contains: {part}")


@pytest.fixture
def locked(reuse_daemon: DaemonFactory) -> Daemon:
    port = free_port()
    conf = {
        "connections": {"dead": {"api_base": f"http://127.0.0.1:{port}/v1", "max_retries": 0}},
        "groups": {"family": {"api_keys": [KEY], "allowed_models": ["seen*"]}},
    }
    return reuse_daemon(conf)


def test_a_wrong_key_and_none(locked: Daemon) -> None:
    for key in (None, "sk-guessed-0123456789"):
        assert locked.chat("m", key=key).status == 401
    (none,) = lines(locked, "An API key is required")
    assert re.search(r"warning 127\.0\.0\.1  POST /v1/chat/completions  401  ", none)
    assert lines(locked, "This API key is not known here.")
    assert "guessed" not in locked.stderr


def test_a_key_in_the_query_is_not_shown(locked: Daemon) -> None:
    assert locked.get("/v1beta/models?key=AIza-secret-0123456789").status == 401
    assert lines(locked, "GET /v1beta/models  401")
    assert "AIza" not in locked.stderr


def test_repeated_refusals_are_counted(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon({"groups": {"family": {"api_keys": [KEY]}}})
    for _ in range(20):
        assert daemon.get("/v1/models").status == 401
    daemon.stop()
    told = [line for line in daemon.stderr.splitlines() if "GET /v1/models" in line]
    assert len(told) == 2
    assert "19 more like these" in told[1] or "18 more like these" in told[1]


def test_a_failure_before_an_answer_shows_its_status(locked: Daemon) -> None:
    assert locked.chat("seen", key=KEY).status == 502
    assert re.search(r"error family  seen → dead  502  .*connection refused", lines(locked, " seen →")[0])
    assert locked.chat("unseen", key=KEY).status == 404
    assert re.search(r"warning family  unseen  404  .*no such model", lines(locked, "family  unseen")[0])


def test_an_unknown_host_and_a_foreign_page_are_named(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon("")
    with daemon.wire() as wire:
        wire.send(b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert wire.answer(method="GET").status == 421
    assert 'the Host name "evil.example" is not served' in lines(daemon, "421")[0]
    assert daemon.get("/v1/models", headers=[("Origin", "https://evil.example")]).status == 403
    assert 'the origin "https://evil.example"' in lines(daemon, "403")[0]


@pytest.mark.parametrize(
    ("head", "status", "told"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n", 431, "longer than 8190 bytes"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "speaks HTTPS to a port that speaks HTTP"),
        (b"nonsense\r\n\r\n", 400, "not valid HTTP"),
    ],
)
def test_an_invalid_request_is_logged_with_its_reason(locked: Daemon, head: bytes, status: int, told: str) -> None:
    with locked.wire() as wire:
        wire.send(head)
        assert wire.answer(method="GET").status == status
    assert re.search(rf"127\.0\.0\.1  {status}  .*{told}", lines(locked, told)[0])


def test_no_request_log_also_turns_off_refusals(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon({"groups": {"family": {"api_keys": [KEY]}}}, flags=["--no-request-log"])
    assert daemon.get("/v1/models").status == 401
    daemon.stop()
    assert "401" not in daemon.stderr


def test_as_json_a_refusal_is_an_object(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon({"groups": {"family": {"api_keys": [KEY]}}}, flags=["--log-format", "json"])
    assert daemon.get("/v1/models").status == 401
    (line,) = lines(daemon, '"refused"')
    assert '"status":401' in line
    assert '"client":"127.0.0.1"' in line

"""Sessions of the page and their one-time codes, without a daemon."""

import json
from pathlib import Path

import pytest

from openai_proxy.auth.page_sessions import CODE_LIFETIME, LIFETIME, MAX_CODES, MAX_SESSIONS, PageSessions
from tests.harness.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
def sessions(tmp_path: Path, clock: Clock) -> PageSessions:
    return PageSessions(tmp_path / "page-sessions.json", clock=clock)


def no_keys(digest: str) -> bool:
    return False


def carrying(sessions: PageSessions, token: str) -> dict[str, str]:
    return {"Cookie": f"other=1; {sessions.cookie}={token}; theme=dark"}


def test_a_code_can_be_used_once(sessions: PageSessions) -> None:
    code, _ = sessions.new_code()
    assert sessions.redeem(code)
    assert not sessions.redeem(code)


def test_a_code_expires(sessions: PageSessions, clock: Clock) -> None:
    code, until = sessions.new_code()
    assert until == clock.now + CODE_LIFETIME
    clock.now = until
    assert not sessions.redeem(code)


def test_codes_are_bounded(sessions: PageSessions) -> None:
    first, _ = sessions.new_code()
    last = first
    for _ in range(MAX_CODES):
        last, _ = sessions.new_code()
    assert not sessions.redeem(first)
    assert sessions.redeem(last)


def test_a_session_is_found_by_its_cookie_only(sessions: PageSessions) -> None:
    token, session = sessions.open("192.168.1.2", "Firefox")
    assert sessions.find(carrying(sessions, token), no_keys) is session
    assert sessions.find(carrying(sessions, token + "x"), no_keys) is None
    assert sessions.find({"Cookie": f"openai_proxy_page={token}"}, no_keys) is None
    assert sessions.find({}, no_keys) is None


def test_a_session_lasts_thirty_days(sessions: PageSessions, clock: Clock) -> None:
    token, session = sessions.open("192.168.1.2", "Firefox")
    clock.now += LIFETIME - 1
    assert sessions.find(carrying(sessions, token), no_keys) is session
    clock.now += 1
    assert sessions.find(carrying(sessions, token), no_keys) is None
    assert sessions.all() == []


def test_a_session_survives_a_restart_and_its_token_is_not_in_the_file(
    sessions: PageSessions, clock: Clock, tmp_path: Path
) -> None:
    token, session = sessions.open("192.168.1.2", "Firefox")
    path = tmp_path / "page-sessions.json"
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    again = PageSessions(path, clock=clock)
    assert again.cookie == sessions.cookie
    assert again.find(carrying(again, token), no_keys) == session


def test_a_session_ends_with_the_key_that_opened_it(sessions: PageSessions) -> None:
    token, session = sessions.open("192.168.1.2", "Firefox", key="ab" * 32)
    assert sessions.find(carrying(sessions, token), lambda digest: digest == "ab" * 32) is session
    assert sessions.find(carrying(sessions, token), no_keys) is None


def test_a_revoked_session_is_removed_from_the_file_too(sessions: PageSessions, clock: Clock, tmp_path: Path) -> None:
    token, session = sessions.open("192.168.1.2", "Firefox")
    assert sessions.close(session.id)
    assert not sessions.close(session.id)
    again = PageSessions(tmp_path / "page-sessions.json", clock=clock)
    assert again.find(carrying(again, token), no_keys) is None


def test_sessions_are_bounded_and_the_least_used_are_dropped(sessions: PageSessions, clock: Clock) -> None:
    unused, _ = sessions.open("a", "")
    used, _ = sessions.open("b", "")
    for _ in range(MAX_SESSIONS - 1):
        clock.now += 1
        assert sessions.find(carrying(sessions, used), no_keys)
        sessions.open("c", "")
    assert sessions.find(carrying(sessions, unused), no_keys) is None
    assert sessions.find(carrying(sessions, used), no_keys)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"instance": "x", "sessions": [{"id": 1}]}', b"\xff"])
def test_a_damaged_file_only_signs_everybody_out(sessions: PageSessions, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page-sessions.json").write_bytes(content)
    token, _ = sessions.open("192.168.1.2", "Firefox")
    assert sessions.find(carrying(sessions, token), no_keys)
    assert json.loads((tmp_path / "page-sessions.json").read_bytes())["sessions"]


def test_without_a_writable_state_directory_sessions_end_with_the_process(tmp_path: Path) -> None:
    sessions = PageSessions(tmp_path / "missing" / "page-sessions.json")
    token, session = sessions.open("192.168.1.2", "Firefox")
    assert sessions.find(carrying(sessions, token), no_keys) is session

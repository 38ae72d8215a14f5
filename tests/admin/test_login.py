"""Signing in: one-time addresses, admin keys, sessions and their end; and who is refused."""

import pytest

from tests.admin.browser import Browser, attributes
from tests.conftest import DaemonFactory
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually

ADMIN = "sk-admin-0123456789abcdef"
ECHO = {"connections": {"offline": {"api_type": "echo"}}}
FACTS = ["/admin/events", "/admin/usage", "/admin/requests", "/admin/sessions", "/admin/conversations/x"]
"""Routes that reveal data; /admin/status and /metrics have their own rule."""


@pytest.fixture
def daemon(reuse_daemon: DaemonFactory) -> Daemon:
    return reuse_daemon(ECHO)


@pytest.fixture
def with_key(reuse_daemon: DaemonFactory) -> Daemon:
    return reuse_daemon({**ECHO, "admin_api_keys": [ADMIN]})


def test_a_one_time_address_opens_a_session_once(daemon: Daemon) -> None:
    address = daemon.control("POST", "/admin/ui").json()
    assert address["path"].startswith("/admin/login?code=")
    browser = Browser(daemon)
    assert browser.get("/admin/session") == {"signed_in": False, "admin_keys": False}
    answer = browser.ask("GET", address["path"])
    assert answer.status == 303
    assert "://" not in str(answer.header("location")), (
        "the redirect must be relative, so that it works below any prefix"
    )
    assert attributes(browser.set_cookie) == {"max-age=2592000", "httponly", "samesite=strict"}
    session = browser.get("/admin/session")
    assert session["signed_in"]
    assert session["session"]["own"]
    assert browser.get("/admin/requests")["requests"] == []
    other = Browser(daemon)
    again = other.ask("GET", address["path"])
    assert (again.status, other.cookie) == (303, None)
    assert str(again.header("location")).endswith("?login=used")


def test_a_preview_of_the_address_does_not_use_it_up(daemon: Daemon) -> None:
    path = daemon.control("POST", "/admin/ui").json()["path"]
    browser = Browser(daemon)
    assert browser.ask("HEAD", path).status == 204
    assert browser.ask("GET", path, headers=[("Sec-Purpose", "prefetch")]).status == 204
    assert browser.cookie is None
    browser.ask("GET", path)
    assert browser.cookie is not None


def test_an_admin_key_opens_a_session_that_ends_with_the_key(with_key: Daemon) -> None:
    browser = Browser(with_key)
    assert browser.get("/admin/session") == {"signed_in": False, "admin_keys": True}
    check_error(browser.ask("POST", "/admin/session", {"key": "sk-wrong"}), 401, "wrong_admin_key")
    assert browser.ask("POST", "/admin/session", {"key": ADMIN}).status == 200
    assert browser.get("/admin/sessions")["sessions"][0]["by"] == "key"
    with_key.write("proxy.yaml", ECHO)
    eventually(lambda: browser.ask("GET", "/admin/sessions").status == 401, "the session ended with its key")


def test_a_code_works_in_the_form(daemon: Daemon) -> None:
    code = daemon.control("POST", "/admin/ui").json()["path"].partition("code=")[2]
    browser = Browser(daemon)
    assert browser.ask("POST", "/admin/session", {"code": code}).status == 200
    assert browser.get("/admin/session")["signed_in"]


def test_the_plain_form_works_without_scripts(with_key: Daemon) -> None:
    browser = Browser(with_key)
    form = [("Content-Type", "application/x-www-form-urlencoded")]

    def submit(body: bytes) -> str:
        with with_key.wire() as wire:
            wire.request(
                "POST", "/admin/session", body=body, content_type=None, headers=[*form, ("Origin", browser.origin)]
            )
            answer = wire.answer()
        browser.cookie = (answer.header("set-cookie") or "").partition(";")[0] or None
        return f"{answer.status} {answer.header('location')}"

    assert submit(b"key=sk-wrong").endswith("?login=wrong")
    assert submit(f"key={ADMIN}".encode()).startswith("303 ../")
    assert browser.get("/admin/session")["signed_in"]


def test_sessions_can_be_listed_and_revoked(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO)
    one, two = Browser(daemon).sign_in(), Browser(daemon).sign_in()
    sessions = one.get("/admin/sessions")["sessions"]
    assert len(sessions) == 2
    (other,) = [session["id"] for session in sessions if not session["own"]]
    assert one.ask("DELETE", f"/admin/sessions/{other}").json() == {"revoked": other}
    check_error(two.ask("GET", "/admin/sessions"), 401, "admin_key_required")
    check_error(one.ask("DELETE", f"/admin/sessions/{other}"), 404, "session_not_found")
    assert one.ask("DELETE", "/admin/session").status == 200
    assert one.cookie is None


def test_a_session_survives_a_restart(daemon: Daemon) -> None:
    browser = Browser(daemon).sign_in()
    daemon.stop()
    daemon.start()
    assert browser.get("/admin/session")["signed_in"]


@pytest.mark.parametrize("path", FACTS)
def test_callers_without_a_session_see_nothing(daemon: Daemon, with_key: Daemon, path: str) -> None:
    for asked in (daemon, with_key):
        check_error(asked.get(path), 401, "admin_key_required")
        check_error(asked.get(path, key="sk-wrong"), 401)
        check_error(asked.get(path, headers=[("Cookie", "openai_proxy_page_00000000=x")]), 401)
    assert with_key.get("/admin/requests", key=ADMIN).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/admin/requests/x/cancel"), ("POST", "/admin/mcp/x/restart"), ("POST", "/admin/ui"),
     ("POST", "/admin/v1/chat/completions"), ("GET", "/admin/v1/models")],
)  # fmt: skip
def test_a_program_on_this_machine_changes_nothing_without_a_key(daemon: Daemon, method: str, path: str) -> None:
    check_error(Browser(daemon).ask(method, path, {} if method == "POST" else None, origin=None), 401)


def test_a_program_on_this_machine_may_read_the_status_unless_keys_are_set(daemon: Daemon, with_key: Daemon) -> None:
    assert daemon.get("/admin/status").status == 200
    assert daemon.get("/metrics").status == 200
    assert daemon.post("/admin/reload", b"").status == 200
    for path in ("/admin/status", "/metrics"):
        check_error(with_key.get(path), 401)
    check_error(with_key.post("/admin/reload", b""), 401)


@pytest.mark.parametrize("origin", ["http://127.0.0.1:1", "https://evil.example", "null", "http://homeassistant.local"])
def test_another_page_cannot_use_the_session(daemon: Daemon, origin: str) -> None:
    browser = Browser(daemon).sign_in()
    for method, path in (("GET", "/admin/requests"), ("GET", "/admin/status"), ("POST", "/admin/reload"),
                         ("DELETE", "/admin/session"), ("POST", "/admin/session"),
                         ("POST", "/admin/v1/chat/completions")):  # fmt: skip
        answer = browser.ask(method, path, origin=origin)
        check_error(answer, 403, "origin_not_allowed")
        assert answer.header("access-control-allow-origin") is None


def test_no_preflight_is_granted_for_admin_routes(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon({**ECHO, "cors": {"origins": "*"}})
    fields = [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x-forwarded-host")]
    for path in ("/admin/session", "/admin/reload", "/admin/v1/chat/completions"):
        answer = Browser(daemon).ask("OPTIONS", path, origin="https://evil.example", headers=fields)
        assert answer.status >= 400
        assert answer.header("access-control-allow-origin") is None


def test_a_request_from_another_site_without_an_origin_changes_nothing(daemon: Daemon) -> None:
    browser = Browser(daemon).sign_in()
    fields = [("Sec-Fetch-Site", "cross-site")]
    check_error(browser.ask("POST", "/admin/reload", origin=None, headers=fields), 403)
    assert browser.ask("POST", "/admin/reload", origin=None).status == 200


def test_behind_a_proxy_that_rewrites_host_the_page_is_recognised(daemon: Daemon) -> None:
    browser = Browser(daemon)
    address = daemon.control("POST", "/admin/ui").json()["path"]
    outside = [("X-Forwarded-Host", "home.example"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "8.8.8.8")]
    assert browser.ask("GET", address, headers=outside).status == 303
    assert "secure" in attributes(browser.set_cookie)
    assert browser.ask("POST", "/admin/reload", origin="https://home.example", headers=outside).status == 200
    check_error(browser.ask("POST", "/admin/reload", origin="https://evil.example", headers=outside), 403)


def test_a_signed_in_page_may_use_the_api_without_a_client_key(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon({**ECHO, "groups": {"family": {"api_keys": ["sk-family-0123456789"]}}})
    browser = Browser(daemon).sign_in()
    assert "echo" in [model["id"] for model in browser.get("/admin/v1/models")["data"]]
    body = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
    answer = browser.ask("POST", "/admin/v1/chat/completions", body)
    assert answer.status == 200
    assert "hello" in answer.json()["choices"][0]["message"]["content"]
    assert answer.header("x-request-id")
    check_error(browser.ask("GET", "/v1/models"), 401)


def test_the_sign_in_page_reveals_nothing(daemon: Daemon) -> None:
    answer = daemon.get("/", headers=[("Accept", "text/html")])
    assert answer.status == 200
    policy = str(answer.header("content-security-policy"))
    assert "'unsafe-inline'" not in policy
    assert "'unsafe-eval'" not in policy
    assert "frame-ancestors 'self'" in policy
    assert "echo" not in answer.body.decode()
    assert b"<script>" not in answer.body
    assert daemon.get("/", headers=[("Accept", "*/*")]).body == b"Ollama is running"


TRAVERSALS = ["/admin/assets/../../routes.py", "/admin/assets/%2e%2e/x", "/admin/assets/..%2f..%2froutes.py"]


@pytest.mark.parametrize("path", [*TRAVERSALS, "/admin/assets//etc/hostname", "/admin/nothing", "/admin/assets/x.js"])
def test_only_the_pages_own_files_are_served(daemon: Daemon, path: str) -> None:
    answer = daemon.get(path)
    check_error(answer, answer.status)
    assert answer.status in (400, 404)


def test_the_plain_page_shows_the_status_when_signed_in(daemon: Daemon) -> None:
    browser = Browser(daemon)
    assert b"Admin key" in browser.ask("GET", "/admin").body
    browser.sign_in()
    page = browser.ask("GET", "/admin")
    assert b"offline" in page.body
    assert b"<script" not in page.body

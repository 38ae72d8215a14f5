"""Groups and their keys: created, listed without revealing them, and revoked, by editing proxy.yaml."""

from typing import Any

import pytest

from openai_proxy.admin.keys import written_keys
from openai_proxy.secrets import key_id
from tests.admin.browser import Browser
from tests.conftest import DaemonFactory
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually

PHONE, TABLET, LISTED = "sk-phone-0123456789", "sk-tablet-0123456789", "sk-listed-0123456789"
PROXY = f"""connections:
  offline: {{api_type: echo}}
groups:
  family:
    api_keys:
      - {PHONE}   # the phone
      - ${{TABLET_KEY}}
    limits: {{requests_per_minute: 60}}
  flow:
    api_keys: ["{LISTED}", "sha256:{"ab" * 32}"]  # two of them
"""


@pytest.fixture
def daemon(reuse_daemon: DaemonFactory) -> Daemon:
    return reuse_daemon(PROXY, dotenv=f"TABLET_KEY={TABLET}\nPROXY_API_KEYS=sk-variable-0123456789\n")


@pytest.fixture
def browser(daemon: Daemon) -> Browser:
    return Browser(daemon).sign_in()


def groups(browser: Browser) -> dict[str, Any]:
    return {group["name"]: group for group in browser.get("/admin/groups")["groups"]}


def chat(daemon: Daemon, key: str) -> int:
    return daemon.chat("echo", key=key).status


def test_keys_are_listed_by_id_only(browser: Browser, daemon: Daemon) -> None:
    assert chat(daemon, PHONE) == 200
    answer = browser.ask("GET", "/admin/groups")
    for key in (PHONE, TABLET, LISTED, "sk-variable"):
        assert key.encode() not in answer.body
    found = groups(browser)
    phone, tablet = found["family"]["keys"]
    assert (phone["id"], phone["label"], phone["revocable"], phone["variable"]) == (
        key_id(PHONE),
        "the phone",
        True,
        False,
    )
    assert (tablet["id"], tablet["label"], tablet["revocable"], tablet["variable"]) == (key_id(TABLET), "", True, True)
    assert [key["label"] for key in found["flow"]["keys"]] == ["", ""], (
        "a comment beside two keys labels neither of them"
    )
    (variable,) = found["default"]["keys"]
    assert (variable["revocable"], variable["variable"]) == (False, True)
    assert found["family"]["limits"] == {"requests_per_minute": 60}
    eventually(lambda: groups(browser)["family"]["keys"][0]["today"]["requests"] == 1, "the key's request is counted")
    assert groups(browser)["family"]["keys"][0]["last_used"]


def test_a_new_key_works_at_once_and_is_not_written_in_plain_text(browser: Browser, daemon: Daemon) -> None:
    made = browser.ask("POST", "/admin/keys", {"group": "family", "label": "Kitchen # tablet"}).json()
    assert chat(daemon, made["key"]) == 200
    text = (daemon.conf_dir / "proxy.yaml").read_text()
    assert made["hash"] in text
    assert text.startswith(PROXY.partition("      - ${")[0]), "the existing text has changed"
    assert groups(browser)["family"]["keys"][2]["label"].startswith("Kitchen tablet, 20")
    for path in daemon.root.rglob("*"):
        assert not path.is_file() or made["key"].encode() not in path.read_bytes(), path
    (save,) = browser.get("/admin/config")["saves"]
    assert save["what"] == "created a key of family"
    assert browser.ask("POST", "/admin/config/undo", {"id": save["id"]}).status == 200
    assert chat(daemon, made["key"]) == 401
    assert (daemon.conf_dir / "proxy.yaml").read_text() == PROXY


def test_a_key_of_a_new_group(browser: Browser, daemon: Daemon) -> None:
    made = browser.ask("POST", "/admin/keys", {"group": "guests"}).json()
    assert chat(daemon, made["key"]) == 200
    assert "guests" in groups(browser)


def test_an_admin_key_opens_the_page(browser: Browser, daemon: Daemon) -> None:
    made = browser.ask("POST", "/admin/keys", {"admin": True, "label": "laptop"}).json()
    other = Browser(daemon)
    assert other.ask("POST", "/admin/session", {"key": made["key"]}).status == 200
    (key,) = other.get("/admin/groups")["admin_keys"]
    assert key["label"].startswith("laptop, ")
    assert browser.ask("DELETE", f"/admin/keys/{made['id']}").status == 200
    check_error(other.ask("GET", "/admin/groups"), 401)


def test_a_revoked_key_is_refused_from_the_next_request_on(browser: Browser, daemon: Daemon) -> None:
    for key in (TABLET, LISTED):
        assert chat(daemon, key) == 200
        assert browser.ask("DELETE", f"/admin/keys/{key_id(key)}").status == 200
        assert chat(daemon, key) == 401
    assert chat(daemon, PHONE) == 200
    text = (daemon.conf_dir / "proxy.yaml").read_text()
    assert "# the phone" in text
    assert "TABLET_KEY" not in text
    check_error(browser.ask("DELETE", f"/admin/keys/{key_id(LISTED)}"), 404, "key_not_found")
    check_error(browser.ask("DELETE", f"/admin/keys/{key_id('sk-variable-0123456789')}"), 404, "key_not_found")


@pytest.mark.parametrize("document", [{}, {"group": 1}, {"group": "a b"}, {"group": ""}, {"group": "x", "label": 1}])
def test_bad_input(browser: Browser, daemon: Daemon, document: dict[str, Any]) -> None:
    check_error(browser.ask("POST", "/admin/keys", document), 400)
    assert (daemon.conf_dir / "proxy.yaml").read_text() == PROXY


def test_a_broken_file_has_no_keys() -> None:
    for text in (b"groups: [", b"- a", b"groups: 1", b"groups: {a: 1}", b"groups: {a: {api_keys: x}}", b"\xff", b""):
        assert list(written_keys(text, {})) == []

"""Editing conf/ through the admin API: only inside it, only valid files, never overwriting another edit."""

import json
import os
import stat
from typing import Any

import pytest

from openai_proxy.admin.config_files import kind_of
from tests.admin.browser import Browser
from tests.conftest import DaemonFactory
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.wire import Answer

PROXY = """# the house
connections:
  offline: {api_type: echo}   # for tests
default_connection: offline
"""
MODEL = "name: augmented/home\nupstream_model: echo\ntools: [calculator]\n"


@pytest.fixture
def daemon(reuse_daemon: DaemonFactory) -> Daemon:
    return reuse_daemon(PROXY, files=FILES)


@pytest.fixture
def own_daemon(make_daemon: DaemonFactory) -> Daemon:
    """A daemon whose history of changes begins with the test."""
    return make_daemon(PROXY, files=FILES)


DICE = '''from openai_proxy import tool

@tool
def roll() -> str:
    """Roll."""
    return "4"
'''


FILES = {"models/home.yaml": MODEL, "tools/dice.py": DICE, "skills/house.md": "# House\n"}


@pytest.fixture
def browser(daemon: Daemon) -> Browser:
    return Browser(daemon).sign_in()


def show(browser: Browser, path: str) -> dict[str, Any]:
    found: dict[str, Any] = browser.get(f"/admin/config/files/{path}")
    return found


def put(browser: Browser, path: str, text: str, digest: str | None) -> Answer:
    return browser.ask("PUT", f"/admin/config/files/{path}", {"text": text, "digest": digest})


def test_the_files_are_listed_with_their_kinds(browser: Browser) -> None:
    files = {file["path"]: file["kind"] for file in browser.get("/admin/config")["files"]}
    assert files == {"proxy.yaml": "proxy", "models/home.yaml": "model", "tools/dice.py": "python",
                     "skills/house.md": "markdown"}  # fmt: skip


def test_a_save_takes_effect_and_keeps_comments_and_mode(browser: Browser, daemon: Daemon) -> None:
    path = daemon.conf_dir / "proxy.yaml"
    path.chmod(0o640)
    before = show(browser, "proxy.yaml")
    assert before["text"] == PROXY
    answer = put(browser, "proxy.yaml", PROXY + "routing: {fast: offline.echo}\n", before["digest"])
    assert answer.status == 200, answer.body
    assert answer.json()["reload"]["changed"]
    assert path.read_text() == PROXY + "routing: {fast: offline.echo}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in daemon.conf_dir.iterdir() if p.name.startswith(".")] == []
    assert "fast" in [model["id"] for model in browser.get("/admin/models")["models"]]


def test_a_mistake_is_reported_with_its_line_and_nothing_is_written(own_daemon: Daemon) -> None:
    browser = Browser(own_daemon).sign_in()
    before = show(browser, "proxy.yaml")
    wrong = PROXY + "rooting: {fast: offline.echo}\n"
    (problem,) = browser.ask("POST", "/admin/config/check", {"path": "proxy.yaml", "text": wrong}).json()["problems"]
    assert (problem["path"], problem["line"]) == ("proxy.yaml", 5)
    assert "routing" in problem["message"]
    answer = put(browser, "proxy.yaml", wrong, before["digest"])
    check_error(answer, 422, "does_not_check")
    assert answer.json()["problems"][0]["line"] == 5
    assert (own_daemon.conf_dir / "proxy.yaml").read_text() == PROXY
    assert browser.get("/admin/config")["saves"] == []


@pytest.mark.parametrize("text", ["connections: [", "port: eight\n", "port: 8000\nport: 8001\n", "\x00", "- a\n"])
def test_an_invalid_configuration_is_never_written(browser: Browser, daemon: Daemon, text: str) -> None:
    check_error(put(browser, "proxy.yaml", text, show(browser, "proxy.yaml")["digest"]), 422, "does_not_check")
    assert (daemon.conf_dir / "proxy.yaml").read_text() == PROXY


def test_an_existing_problem_does_not_prevent_other_edits(browser: Browser, daemon: Daemon) -> None:
    daemon.write("models/broken.yaml", "name: augmented/broken\nupstream_model: echo\ntools: [nobody]\n")
    answer = put(
        browser, "models/home.yaml", MODEL + "description: mine\n", show(browser, "models/home.yaml")["digest"]
    )
    assert answer.status == 200, answer.body
    broken = show(browser, "models/broken.yaml")
    answer = put(browser, "models/broken.yaml", broken["text"].replace("nobody", "calculator"), broken["digest"])
    assert answer.status == 200, answer.body
    assert browser.get("/admin/config")["problems"] == []


def test_templates_and_tools_are_checked(browser: Browser) -> None:
    text = MODEL + 'system_prompt: "{{ no_such_tool() }}"\n'
    found = browser.ask("POST", "/admin/config/check", {"path": "models/home.yaml", "text": text}).json()["problems"]
    assert [problem["line"] for problem in found] == [4]


def test_creating_and_deleting_a_file_can_be_undone(own_daemon: Daemon) -> None:
    browser = Browser(own_daemon).sign_in()
    answer = put(browser, "models/new.yaml", "name: augmented/new\nupstream_model: echo\n", None)
    assert answer.status == 200, answer.body
    digest = answer.json()["digest"]
    check_error(put(browser, "models/new.yaml", "name: x\n", None), 409, "edit_conflict")
    assert browser.ask("DELETE", "/admin/config/files/models/new.yaml", {"digest": digest}).status == 200
    assert not (own_daemon.conf_dir / "models/new.yaml").exists()
    deleted, created = browser.get("/admin/config")["saves"]
    assert (deleted["what"], created["what"]) == ("deleted", "created")
    assert browser.ask("POST", "/admin/config/undo", {"id": deleted["id"]}).json()["path"] == "models/new.yaml"
    assert (own_daemon.conf_dir / "models/new.yaml").read_text().startswith("name: augmented/new")
    assert browser.ask("POST", "/admin/config/undo", {"id": created["id"]}).status == 200
    assert not (own_daemon.conf_dir / "models/new.yaml").exists()
    check_error(browser.ask("POST", "/admin/config/undo", {"id": 999}), 404, "save_not_found")


def test_a_file_edited_on_disk_meanwhile_is_not_overwritten(own_daemon: Daemon) -> None:
    browser = Browser(own_daemon).sign_in()
    before = show(browser, "models/home.yaml")
    own_daemon.write("models/home.yaml", MODEL + "owned_by: me\n")
    answer = put(browser, "models/home.yaml", MODEL + "description: mine\n", before["digest"])
    check_error(answer, 409, "edit_conflict")
    assert answer.json()["text"] == MODEL + "owned_by: me\n"
    again = put(browser, "models/home.yaml", MODEL + "description: mine\n", answer.json()["digest"])
    assert again.status == 200
    (save,) = browser.get("/admin/config")["saves"]
    own_daemon.write("models/home.yaml", MODEL)
    check_error(browser.ask("POST", "/admin/config/undo", {"id": save["id"]}), 409, "edit_conflict")


def test_two_editors(daemon: Daemon) -> None:
    one, two = Browser(daemon).sign_in(), Browser(daemon).sign_in()
    digest = show(one, "models/home.yaml")["digest"]
    assert put(one, "models/home.yaml", MODEL + "owned_by: one\n", digest).status == 200
    check_error(put(two, "models/home.yaml", MODEL + "owned_by: two\n", digest), 409, "edit_conflict")


def test_python_is_compiled_while_typing_and_run_only_when_saved(browser: Browser, daemon: Daemon) -> None:
    marker = daemon.root / "ran"
    text = DICE + f'\nopen({str(marker)!r}, "w").close()\n'
    check = browser.ask("POST", "/admin/config/check", {"path": "tools/dice.py", "text": text})
    assert check.json()["problems"] == []
    assert not marker.exists()
    broken = browser.ask("POST", "/admin/config/check", {"path": "tools/dice.py", "text": "def x(:\n"}).json()
    assert broken["problems"][0]["line"] == 1
    digest = show(browser, "tools/dice.py")["digest"]
    check_error(put(browser, "tools/dice.py", "raise RuntimeError('no')\n", digest), 422, "does_not_check")
    assert put(browser, "tools/dice.py", text, digest).status == 200
    assert marker.exists()


def test_a_key_that_is_being_typed_does_not_become_a_secret(browser: Browser, daemon: Daemon) -> None:
    for end in range(10, 20):
        text = f"{PROXY}admin_api_keys: [{'augmented/home-is-typed'[:end]}]\n"
        browser.ask("POST", "/admin/config/check", {"path": "proxy.yaml", "text": text})
    assert "augmented/home" in json.dumps(browser.get("/admin/models"))
    daemon.write("models/home.yaml", MODEL + "bogus: augmented/home-\n")
    browser.ask("POST", "/admin/reload")
    assert "[REDACTED]" not in daemon.stderr


OUTSIDE = ["../outside.yaml", "/etc/passwd", "models/../../x.yaml", "models/.hidden.yaml", ".env", "notes.txt",
           "models/x.sh", "mcp/other.yaml", "models/a/b.yaml", "", "models/\x00.yaml", "tools/../../x.py"]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_only_configuration_files_can_be_edited(browser: Browser, daemon: Daemon, path: str) -> None:
    assert kind_of(path) is None
    quoted = "".join(f"%{byte:02x}" for byte in path.encode()) or "x"
    for method, document in (
        ("GET", None),
        ("PUT", {"text": "name: x\n", "digest": None}),
        ("DELETE", {"digest": None}),
    ):
        answer = browser.ask(method, f"/admin/config/files/{quoted}", document)
        check_error(answer, answer.status)
        assert answer.status in (400, 404)
    assert sorted(p.name for p in daemon.root.iterdir() if p.name.endswith((".yaml", ".txt", ".sh"))) == []


def test_a_link_out_of_the_configuration_is_not_followed(browser: Browser, daemon: Daemon) -> None:
    outside = daemon.root / "outside.yaml"
    outside.write_text("secret: 1\n")
    (daemon.conf_dir / "models" / "link.yaml").symlink_to(outside)
    check_error(browser.ask("GET", "/admin/config/files/models/link.yaml"), 403, "not_writable")
    check_error(put(browser, "models/link.yaml", MODEL, None), 403, "not_writable")
    assert outside.read_text() == "secret: 1\n"


def test_an_unwritable_directory_is_reported(browser: Browser, daemon: Daemon) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (daemon.conf_dir / "models").chmod(0o500)
    check_error(put(browser, "models/new.yaml", "name: x\nupstream_model: echo\n", None), 403, "not_writable")
    (daemon.conf_dir / "models").chmod(0o700)


def test_a_file_of_megabytes_is_refused(browser: Browser) -> None:
    check_error(put(browser, "skills/big.md", "x" * (1 << 20) + "x", None), 400, "file_too_large")


def test_a_skill_in_its_own_folder(browser: Browser, daemon: Daemon) -> None:
    answer = put(browser, "skills/manners/SKILL.md", "---\nname: manners\ndescription: Be kind.\n---\nBe kind.\n", None)
    assert answer.status == 200, answer.body
    assert (daemon.conf_dir / "skills/manners/SKILL.md").exists()
    answer = put(browser, "skills/wrong/SKILL.md", "---\nname: [\n---\nx\n", None)
    check_error(answer, 422, "does_not_check")
    assert not (daemon.conf_dir / "skills/wrong").exists()


@pytest.mark.parametrize("kind", ["proxy", "model", "servers", "skill"])
def test_schemas_for_the_editor(browser: Browser, kind: str) -> None:
    assert browser.get(f"/admin/config/schemas/{kind}")["properties"]


def test_an_unknown_schema(browser: Browser) -> None:
    check_error(browser.ask("GET", "/admin/config/schemas/nothing"), 404)

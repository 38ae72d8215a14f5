"""Models, explanations, recipes for clients, and trying tools."""

import sys
from typing import Any

import pytest

from openai_proxy.admin.recipes import RECIPES
from openai_proxy.admin.routes import ROUTES, handler_of
from tests.admin.browser import Browser
from tests.conftest import DaemonFactory
from tests.harness.answers import check_error
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.waiting import eventually

CONFIGURATION: dict[str, Any] = {
    "connections": {"offline": {"api_type": "echo"}},
    "routing": {"fast": "offline.echo"},
    "groups": {"guests": {"api_keys": ["sk-guests-0123456789"], "allowed_models": ["fast"]}},
}
FILES = {
    "models/home.yaml": "name: augmented/home\nupstream_model: fast\ntools: [calculator]\ndescription: The house\n",
    "mcp/servers.yaml": f"servers:\n  things:\n    command: {sys.executable}\n"
    f"    args: [{REPOSITORY / 'tests' / 'mcp' / 'modern_server.py'}, stdio]\n",
}


@pytest.fixture
def browser(reuse_daemon: DaemonFactory) -> Browser:
    return Browser(reuse_daemon(CONFIGURATION, files=FILES)).sign_in()


def test_every_route_has_its_handler() -> None:
    for route in ROUTES:
        assert callable(handler_of(route)), route
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


def test_the_admin_api_is_documented() -> None:
    text = (REPOSITORY / "docs" / "admin-api.md").read_text()
    for route in ROUTES:
        if route.path.startswith("/admin/") and "assets" not in route.path:
            head, *rest = route.path.split("{")
            assert f"{route.method} {head}" in text or f"`{route.method} {head}" in text, (route.method, route.path)
            for part in rest:
                assert part.partition("}")[2] in text


def test_models_have_their_targets(browser: Browser) -> None:
    models = {model["id"]: model for model in browser.get("/admin/models")["models"]}
    home = models["augmented/home"]
    assert (home["augmented"], home["connection"], home["upstream_model"]) == (True, "offline", "echo")
    assert home["file"].endswith("home.yaml")
    assert models["fast"]["rule"]


def test_explain_describes_what_a_group_would_get(browser: Browser) -> None:
    found = browser.get("/admin/explain?model=augmented/home")
    assert found["served"]
    assert any("calculator" in line for line in found["lines"])
    refused = browser.get("/admin/explain?model=augmented/home&group=guests")
    assert not refused["served"]
    assert any("allowed_models" in line for line in refused["lines"])
    check_error(browser.ask("GET", "/admin/explain"), 400)
    check_error(browser.ask("GET", "/admin/explain?model=x&group=nobody"), 400)


@pytest.mark.parametrize("client", RECIPES)
def test_a_recipe_for_every_client(browser: Browser, client: str) -> None:
    listed = browser.get("/admin/connect")
    assert client in [one["name"] for one in listed["clients"]]
    found = browser.get(f"/admin/connect/{client}?model=augmented/home&url=http://192.168.1.9:8000")
    assert "192.168.1.9:8000" in found["text"]


def test_an_unknown_client(browser: Browser) -> None:
    check_error(browser.ask("GET", "/admin/connect/netscape"), 404, "client_not_found")


def test_a_tool_can_be_tried_with_arguments(browser: Browser) -> None:
    def names() -> set[str]:
        return {tool["name"] for tool in browser.get("/admin/tools")["tools"]}

    eventually(lambda: any(name.startswith("mcp_things_") for name in names()), "the server's tools are listed")
    tools = {tool["name"]: tool for tool in browser.get("/admin/tools")["tools"]}
    assert tools["calculator"]["server"] is None
    assert tools["calculator"]["parameters"]["properties"]
    (of_server,) = {tool["server"] for tool in tools.values() if tool["server"]}
    assert of_server == "things"
    answer = browser.ask("POST", "/admin/tools/calculator/call", {"arguments": {"expression": "6*7"}}).json()
    assert (answer["text"], answer["is_error"]) == ("42", False)
    wrong = browser.ask("POST", "/admin/tools/calculator/call", {"arguments": {"expresion": "6*7"}}).json()
    assert wrong["is_error"]
    check_error(browser.ask("POST", "/admin/tools/nothing/call", {}), 404, "tool_not_found")
    check_error(browser.ask("POST", "/admin/tools/calculator/call", {"arguments": [1]}), 400)


def test_an_mcp_server_can_be_restarted(browser: Browser) -> None:
    def pid() -> Any:
        return browser.get("/admin/status")["mcp_servers"][0]["pid"]

    before = eventually(pid, "the MCP server is running")
    assert browser.ask("POST", "/admin/mcp/things/restart").json() == {"restarted": "things"}
    eventually(lambda: pid() not in (None, before), "a new server process is running")
    check_error(browser.ask("POST", "/admin/mcp/nothing/restart"), 404)


def test_without_tools_there_are_none(make_daemon: DaemonFactory) -> None:
    daemon: Daemon = make_daemon({"connections": {"offline": {"api_type": "echo"}}})
    assert Browser(daemon).sign_in().get("/admin/tools")["tools"] == []

"""The list of models in every client's format, from one catalog."""

import json
from typing import Any

import ollama
import pytest
from anthropic import Anthropic

from tests.clients.conftest import FRIEND, KEY
from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually

GOOGLE = [("x-goog-api-key", KEY)]


def get(daemon: Daemon, target: str, *headers: tuple[str, str], key: str | None = KEY) -> Any:
    answer = daemon.get(target, key=key, headers=headers)
    assert answer.status == 200, answer.body
    return answer.json()


def ids(daemon: Daemon, key: str = KEY) -> list[str]:
    return [model["id"] for model in get(daemon, "/v1/models", key=key)["data"]]


@pytest.fixture(autouse=True)
def _listed(daemon: Daemon) -> None:
    eventually(lambda: "m-small" in ids(daemon), "the upstream's models are listed")


def test_every_format_has_the_same_models(daemon: Daemon) -> None:
    expected = ids(daemon)
    assert "augmented/home" in expected
    assert [m["model"] for m in get(daemon, "/api/tags")["models"]] == expected
    assert [
        m["id"] for m in get(daemon, "/v1/models?limit=1000", ("anthropic-version", "2023-06-01"))["data"]
    ] == expected
    google = [f"models/{name}" for name in expected]
    for target, headers in (("/v1beta/models?pageSize=1000", GOOGLE), ("/v1/models?pageSize=1000", GOOGLE)):
        assert [m["name"] for m in get(daemon, target, *headers, key=None)["models"]] == google
    assert [m["name"] for m in get(daemon, f"/v1beta/models?pageSize=1000&key={KEY}", key=None)["models"]] == google
    assert [m["slug"] for m in get(daemon, "/v1/models?client_version=0.171.0")["models"]] == expected


def test_a_group_sees_its_own(daemon: Daemon) -> None:
    assert ids(daemon, FRIEND) == ["echo"]
    assert [m["name"] for m in get(daemon, "/api/tags", key=FRIEND)["models"]] == ["echo"]
    assert ids(daemon) != ["echo"]


def test_one_model(daemon: Daemon) -> None:
    assert get(daemon, "/v1/models/augmented/home")["capabilities"] == ["completion", "tools"]
    assert get(daemon, "/v1/models/augmented%2Fhome", ("anthropic-version", "2023-06-01"))["type"] == "model"
    assert get(daemon, "/v1beta/models/augmented/home", *GOOGLE, key=None)["name"] == "models/augmented/home"
    for name in ("augmented/home", "augmented/home:latest"):
        answer = daemon.post("/api/show", json.dumps({"model": name}).encode(), key=KEY)
        assert answer.json()["capabilities"] == ["completion", "tools"]
    missing = daemon.post("/api/show", b'{"name":"nobody/has:it"}', key=FRIEND)
    assert (missing.status, missing.json().keys()) == (404, {"error"})
    assert daemon.post("/api/show", b"{}", key=KEY).json() == {"error": "model is required"}


@pytest.mark.parametrize("path", ["/v1/models/nobodys", "/models/nobodys", "/v1/models"])
def test_an_error_has_the_format_of_the_list(daemon: Daemon, path: str) -> None:
    key = KEY if path.endswith("nobodys") else "sk-nobodys"
    anthropic = daemon.get(path, key=key, headers=[("anthropic-version", "2023-06-01")]).json()
    assert anthropic["type"] == "error"
    assert anthropic["error"]["type"] == ("not_found_error" if key == KEY else "authentication_error")
    google = daemon.get(path, headers=[("x-goog-api-key", key)]).json()
    assert google["error"]["status"] == ("NOT_FOUND" if key == KEY else "UNAUTHENTICATED")
    assert daemon.get(path, key=key).json()["error"]["code"] == ("model_not_found" if key == KEY else "invalid_api_key")


def test_the_libraries_read_it(daemon: Daemon) -> None:
    client = ollama.Client(f"http://127.0.0.1:{daemon.port}", headers={"Authorization": f"Bearer {KEY}"})
    try:
        assert "augmented/home" in [model.model for model in client.list().models]
        assert client.show("augmented/home").capabilities == ["completion", "tools"]
        assert client.ps().models == []
    finally:
        client._client.close()
    with Anthropic(base_url=f"http://127.0.0.1:{daemon.port}", api_key=KEY, max_retries=0) as anthropic:
        assert "augmented/home" in [model.id for model in anthropic.models.list(limit=1000)]
    assert get(daemon, "/api/version")["version"].count(".") == 2


def test_the_last_good_list_stays(make_daemon: DaemonFactory, upstream: Any) -> None:
    conf = {"connections": {"main": {"api_base": upstream.url, "api_key": "sk-1"}}}
    daemon = make_daemon(conf)
    eventually(lambda: "m-small" in ids(daemon, ""), "the upstream's models are listed")
    daemon.edit_conf(lambda c: c["connections"]["main"].update(api_base="http://127.0.0.1:9/v1"))
    assert "m-small" in ids(daemon, "")
    assert "m-small" in [model["name"] for model in get(daemon, "/api/tags", key=None)["models"]]

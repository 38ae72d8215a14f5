"""A daemon's configuration, read from outside."""

from typing import Any

from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually


def models(daemon: Daemon) -> dict[str, str]:
    """The ids that a client sees, with their `owned_by`."""
    listed = daemon.get("/v1/models").json()["data"]
    return {model["id"]: str(model.get("owned_by")) for model in listed}


def status(daemon: Daemon) -> dict[str, Any]:
    """/admin/status."""
    found: dict[str, Any] = daemon.get("/admin/status").json()
    return found


def problems(daemon: Daemon) -> list[str]:
    """`file:line:column: message` of every problem, the file by its name alone."""
    return [
        f"{p['file'].rpartition('/')[2]}:{p['line']}:{p['column']}: {p['message']}"
        for p in status(daemon)["config"]["problems"]
    ]


def reload(daemon: Daemon) -> tuple[int, dict[str, Any]]:
    """POST /admin/reload: status code and answer."""
    answer = daemon.post("/admin/reload", b"")
    return answer.status, answer.json()


def settled(daemon: Daemon) -> int:
    """The generation once everything saved so far has been read."""
    reload(daemon)
    return daemon.generation()


def until_owner(daemon: Daemon, model: str, owner: str) -> None:
    """Wait until `model` is served in its form with `owned_by: owner`."""
    eventually(lambda: models(daemon).get(model) == owner, f"{model} is owned by {owner}")


def model(name: str, owner: str) -> str:
    """A model file that can be distinguished from its other versions from outside."""
    return f"name: {name}\nowned_by: {owner}\n"

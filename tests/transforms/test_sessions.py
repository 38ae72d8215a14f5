"""Sessions: who owns them, how long they last, and what is kept of them."""

from pathlib import Path

import pytest

from openai_proxy.transforms import sessions as module
from openai_proxy.transforms.sessions import Session, SessionRoute, Sessions, implied, named
from tests.harness.clock import Clock


def key(name: str, caller: str = "anna") -> bytes:
    found = named(caller, name, {})
    assert found is not None
    return found


def test_sources_of_session_names_have_the_contracts_order() -> None:
    everything = {"metadata": {"session_id": "m", "user_id": "a"}, "user": "u"}
    assert named("c", "h", everything) == named("c", "h", {})
    assert named("c", None, everything) == named("c", "m", {})
    assert named("c", None, {"metadata": {"user_id": "a"}, "user": "u"}) == named("c", "a", {})
    assert named("c", None, {"user": "u"}) == named("c", "u", {})
    assert named("c", None, {"user": "", "metadata": "odd"}) is None


def test_names_are_bound_to_their_caller() -> None:
    assert named("anna", "kitchen", {}) != named("bert", "kitchen", {})
    assert implied("anna", "Hi", "Hello") != implied("bert", "Hi", "Hello")
    assert named("a\x1enamed", "b", {}) != named("a", "named\x1eb", {})


def test_a_conversation_is_recognised_by_its_first_exchange() -> None:
    assert implied("c", " Hi\n", "<think>well</think>Hello ").key == implied("c", "Hi", "Hello").key
    assert implied("c", "Hi", None).key is None


def test_a_session_ends_after_its_idle_time() -> None:
    clock = Clock(1_000_000.0)
    kept = Sessions(clock=clock)
    kept.put(key("s"), Session("anna", model="x"))
    clock.now += 99
    assert kept.get(key("s"), 100) is not None
    clock.now += 99
    assert kept.get(key("s"), 100) is not None  # it was used
    clock.now += 101
    assert kept.get(key("s"), 100) is None
    assert not kept.concern("anna")


def test_a_sweep_removes_idle_sessions() -> None:
    clock = Clock(1_000_000.0)
    kept = Sessions(clock=clock)
    kept.put(key("old"), Session("anna", model="x"))
    clock.now += 60
    kept.put(key("new"), Session("bert", model="x"))
    clock.now += 60
    kept.sweep(100)
    assert (len(kept), kept.concern("anna"), kept.concern("bert")) == (1, False, True)


def test_a_session_without_settings_is_not_kept() -> None:
    kept = Sessions()
    kept.put(key("s"), Session("anna", model="x"))
    kept.put(key("s"), Session("anna"))
    assert (len(kept), kept.concern("anna")) == (0, False)


def test_unchanged_sessions_are_not_written_again(tmp_path: Path) -> None:
    kept = Sessions(tmp_path / "sessions.json")
    kept.put(key("s"), Session("anna", model="x"))
    assert kept.dump() is not None
    found = kept.get(key("s"), 100)
    assert found is not None
    kept.put(key("s"), found.copy())
    assert kept.dump() is None
    assert kept.dump(all_of_it=True) is not None


def test_the_number_of_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 10)
    kept = Sessions()
    for number in range(30):
        kept.put(key(str(number)), Session(f"caller {number % 3}", model="x"))
    assert len(kept) == 10
    assert kept.get(key("19"), 100) is None
    assert kept.get(key("20"), 100) is not None


def test_settings_survive_a_restart_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "sessions.json"
    kept = Sessions(path)
    route = SessionRoute("round_robin", ["a.b", "c.d"])
    kept.put(key("s"), Session("anna", model="x", interactive=True, redact=False, routes={"r": route}))
    data = kept.dump()
    assert data is not None
    assert kept.dump() is None  # nothing new
    kept.write(data)
    assert path.stat().st_mode & 0o777 == 0o600
    found = Sessions(path).get(key("s"), 100)
    assert found is not None
    assert (found.model, found.interactive, found.redact, found.routes) == ("x", True, False, {"r": route})
    assert Sessions(path).concern("anna")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"zz":{}}', b'{"00":{"nonsense":1}}', b'{"00":7}'])
def test_a_broken_file_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sessions.json"
    path.write_bytes(content)
    assert len(Sessions(path)) == 0


def test_a_copy_shares_nothing() -> None:
    session = Session("anna", routes={"r": SessionRoute("ordered", ["a.b"])})
    other = session.copy()
    other.routes["r"].targets.append("c.d")
    other.routes["s"] = SessionRoute()
    assert session.routes == {"r": SessionRoute("ordered", ["a.b"])}


def test_a_long_first_message_is_recognised_but_not_kept() -> None:
    text = "word " * 50_000
    begun = implied("me", text, None)
    assert begun.opening is not None
    assert len(begun.opening[1]) < 200
    sessions = Sessions()
    session = Session(caller="me", model="m")
    sessions.begun(begun.opening, "the answer", session)
    key = implied("me", text, "the answer").key
    assert key is not None
    assert sessions.get(key, 3600) == session

"""Contract section 6: a broken file affects only itself and keeps its last good form."""

import os
from pathlib import Path

import pytest

from openai_proxy.config.diff import ConfigChanges, diff, merged
from openai_proxy.config.problems import ConfigError
from tests.config.conftest import ConfigDirectory

PROXY = "connections: {a: {api_key: k-secret}}\n"


def messages(problems: object) -> list[str]:
    return [f"{Path(p.file).name}:{p.line}:{p.column}: {p.message}" for p in problems]  # type: ignore[attr-defined]


def test_a_broken_model_keeps_its_last_good_form_while_the_rest_applies(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", PROXY)
    config_directory.write("models/x.yaml", "name: x\ndescription: one\n")
    config_directory.write("models/y.yaml", "name: y\n")
    first = config_directory.load()
    config_directory.write("models/x.yaml", "name: x\ndescription: [\n")
    config_directory.write("models/y.yaml", "name: y\ndescription: two\n")
    second = config_directory.load(first)
    assert second.models["x"].description == "one"
    assert second.models["y"].description == "two"
    assert [Path(p.file).name for p in second.problems] == ["x.yaml"]
    assert diff(first, second) == ConfigChanges(updated=("model y",))
    third = config_directory.load(second)  # reported again as long as it lasts
    assert third.problems == second.problems
    assert third.models["x"].description == "one"


def test_at_start_a_broken_model_is_left_out_and_listed(config_directory: ConfigDirectory) -> None:
    config_directory.write("models/x.yaml", "name: x\nmax_tool_ronds: 3\n")
    config_directory.write("models/y.yaml", "name: y\n")
    config_directory.write("models/z.yaml", "")
    snapshot = config_directory.load()
    assert list(snapshot.models) == ["y"]
    assert messages(snapshot.problems) == [
        'x.yaml:2:1: unknown key "max_tool_ronds" (did you mean "max_tool_rounds"?)',
        "z.yaml:1:1: the file is empty: a model needs at least a `name`",
    ]


def test_a_broken_proxy_yaml_keeps_its_complete_last_good_form(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", PROXY + "session_ttl: 5\n")
    first = config_directory.load()
    config_directory.write("proxy.yaml", "connections: {b: {api_key: k2}}\nsession_ttl: ten\n")
    second = config_directory.load(first)
    assert second.proxy == first.proxy
    assert messages(second.problems) == ["proxy.yaml:2:14: session_ttl: expected a number, not text"]
    assert second.place("proxy", None, ("session_ttl",))[1:] == (2, 14)
    with pytest.raises(ConfigError):
        config_directory.load()


def test_a_broken_server_affects_only_itself(config_directory: ConfigDirectory) -> None:
    config_directory.write("mcp/servers.yaml", "servers:\n  a: {command: one}\n  b: {url: 'http://h/mcp'}\n")
    first = config_directory.load()
    config_directory.write(
        "mcp/servers.yaml", "servers:\n  a: {comand: two}\n  b: {url: 'http://h/other'}\n  c: {command: x}\n"
    )
    second = config_directory.load(first)
    assert second.servers["a"].command == "one"
    assert second.servers["b"].url == "http://h/other"
    assert diff(first, second) == ConfigChanges(added=("server c",), updated=("server b",))
    assert messages(second.problems)[0] == 'servers.yaml:2:7: unknown key "comand" (did you mean "command"?)'
    assert sorted(config_directory.load().servers) == ["b", "c"]


def test_a_syntax_error_in_servers_yaml_keeps_every_server(config_directory: ConfigDirectory) -> None:
    config_directory.write("mcp/servers.yaml", "servers:\n  a: {command: one}\n")
    first = config_directory.load()
    config_directory.write("mcp/servers.yaml", "servers:\n  a: {command: one\n")
    second = config_directory.load(first)
    assert second.servers == first.servers
    assert len(second.problems) == 1
    assert config_directory.load(second).servers == first.servers


def test_deleted_files_are_removed_and_unreadable_ones_kept(config_directory: ConfigDirectory) -> None:
    config_directory.write("models/x.yaml", "name: x\n")
    config_directory.write("models/y.yaml", "name: y\n")
    config_directory.write("skills/s.md", "Be kind.")
    config_directory.write("tools/t.py", "A = 1\n")
    first = config_directory.load()
    (config_directory.conf / "models/x.yaml").unlink()
    (config_directory.conf / "models/x.yaml").mkdir()
    (config_directory.conf / "models/y.yaml").unlink()
    (config_directory.conf / "tools/t.py").unlink()
    os.mkfifo(config_directory.conf / "tools/t.py")
    (config_directory.conf / "skills/s.md").write_bytes(b"\xff\xfe\x00")
    second = config_directory.load(first)
    assert list(second.models) == ["x"]
    assert [s.content for s in second.skills] == ["Be kind."]
    assert [t.digest for t in second.tool_files] == [t.digest for t in first.tool_files]
    assert sorted(messages(second.problems)) == [
        "s.md:1:1: this is not UTF-8 text: save the file as UTF-8",
        "t.py:1:1: this is not a regular file",
        "x.yaml:1:1: this is a directory, not a file",
    ]
    assert diff(first, second) == ConfigChanges(removed=("model y",))


def test_a_missing_variable_drops_its_entry_only(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", "connections: {a: {api_key: '${A}'}, b: {api_key: '${B:-fallback}'}}\n")
    config_directory.write(
        "models/x.yaml", "name: x\nparams: {default: {user: '${WHO}'}}\nsystem_prompt: costs ${MUCH}\n"
    )
    config_directory.write("models/y.yaml", "name: y\nsystem_prompt: costs ${MUCH} $$\n")
    config_directory.write(
        "mcp/servers.yaml", "servers:\n  a: {command: one, env: {T: 'env:T'}}\n  b: {command: two}\n"
    )
    snapshot = config_directory.load()
    assert list(snapshot.proxy.connections) == ["b"]
    assert snapshot.proxy.connections["b"].api_keys == ("fallback",)
    assert list(snapshot.models) == ["y"]
    assert snapshot.models["y"].system_prompt == "costs ${MUCH} $$"
    assert list(snapshot.servers) == ["b"]
    assert messages(snapshot.problems) == [
        "proxy.yaml:1:28: the environment variable A is not set, so connections.a is left out",
        "x.yaml:2:26: the environment variable WHO is not set, so this model is left out",
        "servers.yaml:2:30: the environment variable T is not set, so the server a is left out",
    ]
    whole = config_directory.load(A="1", WHO="me", T="t")
    assert (whole.problems, list(whole.models), list(whole.servers)) == ((), ["x", "y"], ["a", "b"])
    # a variable that is removed takes its entry with it, even if that has a last good form
    again = config_directory.load(whole, A="1", T="t")
    assert list(again.models) == ["y"]


def test_of_two_models_with_one_name_the_earlier_owner_keeps_it(config_directory: ConfigDirectory) -> None:
    config_directory.write("models/b.yaml", "name: x\ndescription: b\n")
    first = config_directory.load()
    config_directory.write("models/a.yaml", "name: x\ndescription: a\n")
    second = config_directory.load(first)
    assert second.models["x"].description == "b"
    [problem] = second.problems
    assert (Path(problem.file).name, problem.line, problem.column) == ("a.yaml", 1, 7)
    assert "b.yaml:1" in problem.message
    assert config_directory.load().models["x"].description == "a"  # at a start, the first file wins


def test_without_its_keys_a_group_stays_closed(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", "groups: {g: {api_keys: ['${K}']}}\nadmin_api_keys: ['${ADMIN}']\n")
    proxy = config_directory.load().proxy
    assert proxy.groups == {}
    assert proxy.require_api_key
    assert len(proxy.admin_api_keys) == 1
    assert proxy.admin_api_keys[0].startswith("sha256:")


def test_unchanged_files_are_not_parsed_again(config_directory: ConfigDirectory) -> None:
    config_directory.write("models/x.yaml", "name: x\n")
    first = config_directory.load()
    second = config_directory.load(first)
    assert second.models["x"] is first.models["x"]
    assert second.digest == first.digest
    assert not diff(first, second)


@pytest.mark.parametrize("directory", ["models", "skills", "tools"])
def test_an_unreadable_directory_keeps_its_entries(config_directory: ConfigDirectory, directory: str) -> None:
    config_directory.write("models/x.yaml", "name: x\n")
    config_directory.write("skills/s.md", "Be kind.")
    config_directory.write("tools/t.py", "A = 1\n")
    first = config_directory.load()
    (config_directory.conf / directory).rename(config_directory.root / "away")
    (config_directory.conf / directory).write_text("not a directory")
    second = config_directory.load(first)
    assert not diff(first, second)
    assert [Path(p.file).name for p in second.problems] == [directory]
    (config_directory.conf / directory).unlink()
    third = config_directory.load(second)
    assert third.problems == ()
    assert len(diff(second, third).removed) == 1


def test_an_unreadable_servers_yaml_keeps_every_server(config_directory: ConfigDirectory) -> None:
    config_directory.write("mcp/servers.yaml", "servers: {a: {command: x}}\n")
    first = config_directory.load()
    (config_directory.conf / "mcp/servers.yaml").unlink()
    (config_directory.conf / "mcp/servers.yaml").mkdir()
    second = config_directory.load(first)
    assert second.servers == first.servers
    assert messages(second.problems) == ["servers.yaml:1:1: this is a directory, not a file"]


def test_a_deleted_proxy_yaml_is_a_removal_and_a_misnamed_one_is_reported(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", PROXY)
    first = config_directory.load()
    (config_directory.conf / "proxy.yaml").rename(config_directory.conf / "proxy.yml")
    second = config_directory.load(first)
    assert second.proxy == first.proxy
    assert messages(second.problems) == ["proxy.yaml:1:1: rename proxy.yml to proxy.yaml: only that name is read"]
    (config_directory.conf / "proxy.yml").unlink()
    assert diff(second, config_directory.load(second)) == ConfigChanges(
        removed=("connection a",), updated=("settings",)
    )


def test_modules_beside_proxy_yaml_are_part_of_the_configuration(config_directory: ConfigDirectory) -> None:
    path = config_directory.write("my_validators.py", "A = 1\n")
    config_directory.write("_helper.py", "B = 1\n")
    first = config_directory.load()
    assert [(m.path, m.source) for m in first.modules] == [(path, b"A = 1\n")]
    config_directory.write("my_validators.py", "A = 2\n")
    assert diff(first, config_directory.load(first)) == ConfigChanges(updated=("module my_validators.py",))


def test_the_order_of_routes_and_the_settings_count_as_changes(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", PROXY + "routing: {x: a.x, y: a.y}\nsession_ttl: 5\n")
    first = config_directory.load()
    config_directory.write("proxy.yaml", PROXY + "routing: {y: a.y, x: a.x}\nsession_ttl: 6\n")
    assert diff(first, config_directory.load(first)) == ConfigChanges(updated=("route order", "settings"))


def test_consecutive_edits_are_reported_together() -> None:
    steps = [
        ConfigChanges(added=("a", "b"), updated=("c", "d")),
        ConfigChanges(removed=("b", "c"), updated=("a", "d")),
        ConfigChanges(added=("c",)),
    ]
    assert merged(steps) == ConfigChanges(added=("a",), removed=("b",), updated=("c", "d"))
    assert not merged([])


def test_the_built_in_echo_is_not_reported_as_added_or_removed(config_directory: ConfigDirectory) -> None:
    without = config_directory.load()
    with_one = config_directory.load(without, OPENROUTER_API_KEY="k")
    assert diff(without, with_one) == ConfigChanges(added=("connection openrouter",), updated=("settings",))
    assert diff(with_one, without) == ConfigChanges(removed=("connection openrouter",), updated=("settings",))
    config_directory.write("proxy.yaml", "connections:\n  echo: {api_type: echo, max_retries: 0}\n")
    assert "connection echo" in diff(with_one, config_directory.load(with_one)).added

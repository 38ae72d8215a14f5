"""`check`, `keys` and `init` as a user runs them."""

import hashlib
import io
import re
from pathlib import Path

import pytest

from openai_proxy.cli.main import run
from tests.config.conftest import ConfigDirectory


@pytest.fixture(autouse=True)
def nothing_set(config_directory: ConfigDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration's directory as the working directory, and none of our variables in the environment."""
    from openai_proxy.config.environment import VARIABLES

    for row in VARIABLES:
        monkeypatch.delenv(row.name, raising=False)
    monkeypatch.chdir(config_directory.root)


def test_check_of_a_valid_conf_exits_with_0(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    config_directory.write("models/x.yaml", "name: x\n")
    assert run(["check"]) == 0
    assert "conf is fine: 1 connection, 1 model, 0 MCP servers, " in capsys.readouterr().out


def test_check_prints_a_line_per_problem_and_exits_with_1(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    config_directory.write("models/x.yaml", "name: x\ntool: [a]\n")
    config_directory.write("models/y.yaml", "name: y\nmcp_servers: [nobody]\n")
    assert run(["check", "--config-dir", "conf"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        'conf/models/x.yaml:2:1: unknown key "tool" (did you mean "tools"?)',
        'conf/models/y.yaml:2:15: there is no MCP server "nobody"',
    ]


def test_check_of_a_broken_proxy_yaml_exits_with_1(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    config_directory.write("proxy.yaml", "port: no\n")
    assert run(["check"]) == 1
    assert capsys.readouterr().out.startswith("conf/proxy.yaml:1:7: `no` is false to some YAML readers")


def test_check_reads_the_env_file_it_is_given(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    config_directory.write("proxy.yaml", "connections: {a: {api_key: '${MY_KEY}'}}\n")
    assert run(["check"]) == 1
    assert "MY_KEY is not set" in capsys.readouterr().out
    (config_directory.root / "other.env").write_text("MY_KEY=value-of-it\n")
    assert run(["check", "--env-file", "other.env"]) == 0


def test_a_new_key_comes_with_its_hash_and_lines_that_work(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "new", "--group", "kids"]) == 0
    out = capsys.readouterr().out
    key = re.search(r"(?m)^key: +(sk-[\w-]{32,})$", out)
    assert key is not None
    digest = "sha256:" + hashlib.sha256(key[1].encode()).hexdigest()
    assert f"hash: {digest}" in out
    config_directory.write("proxy.yaml", out[out.index("groups:") :])
    assert config_directory.load().proxy.groups["kids"].api_keys == (digest,)


def test_keys_hash_takes_an_argument_or_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["keys", "hash", "abc"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("abc\n"))
    assert run(["keys", "hash"]) == 0
    lines = capsys.readouterr().out.split()
    assert lines == ["sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"] * 2
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["keys", "hash"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chek"], "did you mean check?"),
        (["check", "--bogus"], "--bogus"),
        (["serve", "--port", "x"], "--port"),
        (["explain"], "MODEL"),
        (["import", "not-there.toml"], "not-there.toml"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("openai-proxy: ")
    assert words in error
    assert error.count("\n") == 1


def test_init_writes_a_conf_that_checks_and_never_overwrites(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", "new/conf"]) == 0
    assert run(["check", "--config-dir", "new/conf"]) == 0
    proxy = Path("new/conf/proxy.yaml")
    proxy.write_text("port: 1\n")
    capsys.readouterr()
    assert run(["init", "new/conf"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert proxy.read_text() == "port: 1\n"


def test_check_connect_reports_unreachable_connections(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nothing listens on port 9 of the loopback.
    config_directory.write("proxy.yaml", "connections:\n  a: {api_base: 'http://127.0.0.1:9', api_key: k-of-a}\n")
    assert run(["check", "--connect"]) == 1
    assert capsys.readouterr().out.startswith("conf/proxy.yaml:2:6: connection a: connection refused by 127.0.0.1:9")


def test_models_config_dir_is_the_default_of_config_dir(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (config_directory.root / "other/models").mkdir(parents=True)
    (config_directory.root / "other/models/bad.yaml").write_text("nam: x\n")
    monkeypatch.setenv("MODELS_CONFIG_DIR", str(config_directory.root / "other"))
    assert run(["check"]) == 1
    assert "other/models/bad.yaml:1:1" in capsys.readouterr().out
    config_directory.write("mcp/servers.yaml", "servers: {}\n")
    assert run(["check", "--config-dir", "conf"]) == 0
    monkeypatch.setenv("MODELS_CONFIG_DIR", str(config_directory.root / "other/models"))
    config_directory.write("proxy.yaml", "connections: {a: {api_key: k}, b: {api_key: k}}\n")
    assert run(["check"]) == 1
    assert "models/bad.yaml" in capsys.readouterr().out
    assert run(["init", "--config-dir", "third"]) == 0
    assert (config_directory.root / "third/proxy.yaml").is_file()


def test_a_reverse_proxy_without_keys_is_a_warning(
    config_directory: ConfigDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """It works, so the exit code is 0."""
    config_directory.write("proxy.yaml", "connections: {a: {api_type: echo}}\ntrusted_proxies: [127.0.0.1]\n")
    assert run(["check"]) == 0
    out = capsys.readouterr().out
    assert "conf/proxy.yaml:2:18: warning: behind a reverse proxy keys are needed" in out
    assert "conf is fine" in out
    config_directory.write(
        "proxy.yaml",
        "connections: {a: {api_type: echo}}\ntrusted_proxies: [127.0.0.1]\ngroups: {all: {api_keys: [a-long-key]}}\n",
    )
    assert run(["check"]) == 0
    assert "warning" not in capsys.readouterr().out

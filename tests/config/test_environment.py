"""Every environment variable of the contract, row by row, and `.env`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from openai_proxy.config.environment import NUMBERED, VARIABLES
from openai_proxy.config.problems import ConfigError
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.secrets import vault
from tests.config.conftest import ConfigDirectory

OPENROUTER = "https://openrouter.ai/api/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"

Read = Callable[[ProxyConfig], object]
ROWS: list[tuple[dict[str, str], Read, object]] = [
    ({"BASE_URL": "http://box:1/v2/"}, lambda p: p.connections["default"].api_base, "http://box:1/v2"),
    ({"API_KEY": "k-default"}, lambda p: p.connections["default"].api_keys, ("k-default",)),
    ({"API_KEY": "k-default"}, lambda p: p.connections["default"].api_base, OPENROUTER),
    ({"HOST": "127.0.0.1"}, lambda p: p.host, "127.0.0.1"),
    ({"PORT": "9000"}, lambda p: p.port, 9000),
    ({"OPENAI_API_KEY": "k-openai"}, lambda p: p.connections["openai"].api_keys, ("k-openai",)),
    ({"OPENAI_BASE_URL": "http://b"}, lambda p: p.connections["openai"].api_base, "http://b/v1"),
    ({"OPENAI_API_KEY": "k", "OPENAI_TIMEOUT": "7.5"}, lambda p: p.connections["openai"].timeout.first_byte, 7.5),
    ({"OPENAI_API_KEY": "k", "OPENAI_TIMEOUT": "7.5"}, lambda p: p.connections["openai"].timeout.idle, 7.5),
    ({"OPENAI_API_KEY": "k", "OPENAI_MAX_RETRIES": "0"}, lambda p: p.connections["openai"].max_retries, 0),
    ({"OPENAI_API_KEY": "k", "OPENAI_ORGANIZATION": "org"}, lambda p: p.connections["openai"].organization, "org"),
    ({"OPENAI_API_KEY": "k", "OPENAI_PROJECT": "pro"}, lambda p: p.connections["openai"].project, "pro"),
    ({"REQUEST_TIMEOUT": "9", "OPENAI_API_KEY": "k"}, lambda p: p.connections["openai"].timeout.first_byte, 9),
    ({"REQUEST_TIMEOUT": "9", "API_KEY": "k"}, lambda p: p.connections["default"].timeout.idle, 9),
    (
        {"REQUEST_TIMEOUT": "9", "OPENAI_TIMEOUT": "8", "OPENAI_API_KEY": "k"},
        lambda p: p.connections["openai"].timeout.idle,
        8,
    ),
    ({"PROXY_REQUIRE_API_KEY": "true"}, lambda p: p.require_api_key, True),
    ({"PROXY_API_KEYS": "sk-a, sk-b"}, lambda p: p.groups["default"].api_keys, ("sk-a", "sk-b")),
    ({"PROXY_API_KEYS": '["sk-a","sk,b"]'}, lambda p: p.groups["default"].api_keys, ("sk-a", "sk,b")),
    ({"PROXY_FORWARD_AUTH_HEADER": "1"}, lambda p: p.connections["openai"].forward_auth, True),
    (
        {"PROXY_FORWARD_AUTH_HEADER": "1", "ANTHROPIC_API_KEY": "k", "API_KEY": "k"},
        lambda p: [c.forward_auth for c in p.connections.values()],
        [True, False],
    ),
    ({"ALLOW_UNAUTHENTICATED_HEALTH": "false"}, lambda p: p.allow_unauthenticated_health, False),
    ({"ENABLE_TOOL_EXECUTION": "yes"}, lambda p: p.execute_tools, True),
    ({"OPENAI_PARAM_DEFAULTS": '{"temperature": 0.2}'}, lambda p: p.params.default, {"temperature": 0.2}),
    ({"OPENAI_PARAM_OVERRIDES": '{"a": {"b": 1}}'}, lambda p: p.params.override, {"a": {"b": 1}}),
    ({"OPENAI_PARAM_DROP": "user,logit_bias"}, lambda p: p.params.drop, ("user", "logit_bias")),
    ({"OPENAI_PARAM_DROP": '["user"]'}, lambda p: p.params.drop, ("user",)),
    ({"OPENROUTER_API_KEY": "k-router"}, lambda p: p.connections["openrouter"].api_keys, ("k-router",)),
    ({"OPENROUTER_API_KEY": "k-router"}, lambda p: p.connections["openrouter"].api_base, OPENROUTER),
    ({"GEMINI_API_KEY": "k-gem"}, lambda p: p.connections["gemini"].api_keys, ("k-gem",)),
    ({"GEMINI_API_KEY": "k-gem"}, lambda p: p.connections["gemini"].api_base, GOOGLE),
    ({"ANTHROPIC_API_KEY": "k-ant"}, lambda p: p.connections["anthropic"].api_keys, ("k-ant",)),
    ({"ANTHROPIC_API_KEY": "k-ant"}, lambda p: p.connections["anthropic"].api_type, "anthropic"),
    ({"LLM_BACKEND": "gemini", "GEMINI_API_KEY": "g", "API_KEY": "k"}, lambda p: p.default_connection, "gemini"),
    ({"GEMINI_API_KEY": "g", "API_KEY": "k"}, lambda p: p.default_connection, "default"),
    ({"COMMAND_PREFIX": "$/"}, lambda p: p.commands.prefix, "$/"),
    ({"INTERACTIVE_MODE": "on"}, lambda p: p.commands.interactive, True),
    ({"REDACT_API_KEYS_IN_PROMPTS": "0"}, lambda p: p.redact_api_keys_in_prompts, False),
    *(
        (
            {f"{name}_API_KEY_{n}": f"k-{n}" for n in (number, 1)},
            lambda p, name=name, number=number: p.connections[name.lower()].api_keys,  # type: ignore[misc]
            tuple(f"k-{n}" for n in sorted({1, number})),
        )
        for name in ("OPENROUTER", "GEMINI")
        for number in range(1, NUMBERED + 1)
    ),
]


@pytest.mark.parametrize(("environ", "read", "expected"), ROWS, ids=[",".join(row[0]) for row in ROWS])
def test_a_variable_is_a_setting(
    config_directory: ConfigDirectory, environ: dict[str, str], read: Read, expected: object
) -> None:
    snapshot = config_directory.load(**environ)
    assert snapshot.problems == ()
    assert read(snapshot.proxy) == expected


def test_every_row_of_the_table_is_tested() -> None:
    tested = {name for environ, _, _ in ROWS for name in environ} | {"MODELS_CONFIG_DIR"}
    assert {row.name for row in VARIABLES} == tested


def test_models_config_dir_sets_the_models_directory(config_directory: ConfigDirectory, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "m.yaml").write_text("name: m\n")
    config_directory.write("models/n.yaml", "name: n\n")
    snapshot = config_directory.load(MODELS_CONFIG_DIR=str(tmp_path / "elsewhere"))
    assert list(snapshot.models) == ["m"]
    assert tmp_path / "elsewhere" in snapshot.watched
    assert list(config_directory.load(MODELS_CONFIG_DIR=str(config_directory.conf)).models) == ["n"]
    # As a conf/ it is the default of --config-dir; an explicit --config-dir overrides it.
    (tmp_path / "other/models").mkdir(parents=True)
    (tmp_path / "other/models/o.yaml").write_text("name: o\n")
    assert list(config_directory.load(MODELS_CONFIG_DIR=str(tmp_path / "other")).models) == ["n"]
    config_directory.write(".env", f"MODELS_CONFIG_DIR={tmp_path / 'other'}\n")
    assert list(config_directory.load().models) == ["o"]


BROKEN = [
    ("PORT", "eighty", "expected a whole number from 0 to 65535"),
    ("PORT", "70000", "expected a whole number from 0 to 65535"),
    ("REQUEST_TIMEOUT", "0", "expected a number of seconds above 0"),
    ("BASE_URL", "openrouter.ai/api", "expected a URL that begins with http:// or https://"),
    ("OPENAI_BASE_URL", "https://u:p@host/v1", "a URL here cannot carry a name or password: use a key or a header"),
    ("OPENAI_API_KEY", "two words", "a key must be printable ASCII without spaces; this one contains a space"),
    ("OPENAI_PARAM_DEFAULTS", "[1]", "expected a JSON object"),
    ("OPENAI_PARAM_DROP", "[1", "expected texts separated by commas, or a JSON list of texts"),
    ("INTERACTIVE_MODE", "maybe", "expected true or false"),
    ("PROXY_API_KEYS", " , ", "expected at least one key"),
    ("PROXY_API_KEYS", "sk-a,sha256:12", "expected 64 hex digits after sha256: (`openai-proxy keys hash` prints them)"),
    ("OPENAI_MAX_RETRIES", "-1", "expected a whole number from 0 to 20"),
]


@pytest.mark.parametrize(("name", "text", "words"), BROKEN, ids=[f"{row[0]}={row[1]}" for row in BROKEN])
def test_an_invalid_setting_at_start_is_a_clear_error(
    config_directory: ConfigDirectory, name: str, text: str, words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        config_directory.load(**{name: text})
    assert str(error.value) == f"environment:1:1: {name}: {words}"


def test_later_an_invalid_setting_keeps_its_value(config_directory: ConfigDirectory) -> None:
    config_directory.write(".env", "PORT=9000\nHOST=127.0.0.1\n")
    first = config_directory.load()
    config_directory.write(".env", "# x\n\nPORT=no\nHOST=::1\n")
    second = config_directory.load(first)
    assert (second.proxy.port, second.proxy.host) == (9000, "::1")
    [problem] = second.problems
    assert (Path(problem.file).name, problem.line) == (".env", 3)


def test_single_and_numbered_keys_together_are_a_problem(config_directory: ConfigDirectory) -> None:
    snapshot = config_directory.load(GEMINI_API_KEY="a", GEMINI_API_KEY_2="b", ANTHROPIC_API_KEY="c")
    assert list(snapshot.proxy.connections) == ["anthropic"]
    assert [p.message for p in snapshot.problems] == [
        "GEMINI_API_KEY and GEMINI_API_KEY_2 are both set: set one, or number all (1 to 20)"
    ]
    assert config_directory.load(GEMINI_API_KEY="a", GEMINI_API_KEY_2="b").proxy.connections == {}


def test_the_environment_wins_over_the_file_and_a_flag_over_both(config_directory: ConfigDirectory) -> None:
    config_directory.write("proxy.yaml", "port: 1\nhost: one\nsession_ttl: 5\ncommands: {prefix: '?/'}\n")
    config_directory.flags = {"port": 3, "host": None, "interactive": True}
    proxy = config_directory.load(PORT="2", HOST="two").proxy
    assert (proxy.port, proxy.host, proxy.session_ttl) == (3, "two", 5)
    assert (proxy.commands.prefix, proxy.commands.interactive) == ("?/", True)


def test_the_process_wins_over_dotenv(config_directory: ConfigDirectory) -> None:
    config_directory.write(".env", "export HOST=one # the first\nPORT='2'\nUNSET\n")
    proxy = config_directory.load(HOST="two").proxy
    assert (proxy.host, proxy.port) == ("two", 2)


def test_values_are_not_expanded_again(config_directory: ConfigDirectory) -> None:
    config_directory.write(".env", "A='${B}'\nB=secret\nC=x${B}\n")
    config_directory.write("proxy.yaml", "connections: {a: {api_keys: ['${A}', '${C}', 'env:A$$']}}\n")
    assert config_directory.load().proxy.connections["a"].api_keys == ("${B}", "x${B}", "env:A$")


def test_with_connections_in_the_file_variables_override_key_and_base_only(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "proxy.yaml",
        "connections:\n"
        "  openrouter: {api_key: '${OPENROUTER_API_KEY}', headers: {X: y}}\n"
        "  openai: {api_keys: [a, b], timeout: {connect: 3, idle: 4}}\n",
    )
    snapshot = config_directory.load(
        OPENROUTER_API_KEY_1="k1", OPENROUTER_API_KEY_2="k2", OPENAI_API_KEY="c", API_KEY="ignored"
    )
    assert snapshot.problems == ()
    connections = snapshot.proxy.connections
    assert list(connections) == ["openrouter", "openai"]
    assert connections["openrouter"].api_keys == ("k1", "k2")
    assert connections["openrouter"].headers == {"X": "y"}
    assert connections["openai"].api_keys == ("c",)
    assert (connections["openai"].timeout.connect, connections["openai"].timeout.idle) == (3, 4)
    nearer = config_directory.load(OPENROUTER_API_KEY="k", OPENAI_TIMEOUT="5", REQUEST_TIMEOUT="77").proxy.connections
    assert (nearer["openai"].timeout.connect, nearer["openai"].timeout.idle) == (3, 5)
    assert nearer["openrouter"].timeout.idle == 77
    slow = config_directory.load(OPENROUTER_API_KEY="k", REQUEST_TIMEOUT="77").proxy.connections
    assert [c.timeout.idle for c in slow.values()] == [77, 77]
    assert slow["openai"].timeout.connect == 3


def test_an_invalid_line_of_dotenv_is_reported_and_the_rest_applies(config_directory: ConfigDirectory) -> None:
    config_directory.write(".env", "PORT=9\n= what\nHOST=h\n")
    snapshot = config_directory.load()
    assert (snapshot.proxy.port, snapshot.proxy.host) == (9, "h")
    [problem] = snapshot.problems
    assert (problem.line, problem.message) == (2, "expected NAME=value")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"A=" + b"x" * (1 << 20)])
def test_a_binary_dotenv_is_reported(config_directory: ConfigDirectory, content: bytes) -> None:
    config_directory.write(".env", content)
    assert len(config_directory.load().problems) == 1


def test_an_unknown_backend_is_reported_with_the_nearest_name(config_directory: ConfigDirectory) -> None:
    snapshot = config_directory.load(LLM_BACKEND="gemni", GEMINI_API_KEY="k", ANTHROPIC_API_KEY="k")
    assert snapshot.proxy.default_connection is None
    assert [str(p) for p in snapshot.problems] == [
        'environment:1:1: LLM_BACKEND or --backend: there is no connection "gemni" (did you mean "gemini"?)'
    ]


def test_variables_named_like_secrets_are_known_to_the_vault(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        ".env", "SOME_TOKEN=tok-1234567\nPROXY_REQUIRE_API_KEY=false\nSSH_KEY_FILE=/home/me/.ssh/id\n"
    )
    config_directory.load(
        DB_PASSWORD="pass-1234567", PROXY_API_KEYS="sk-first-one,sk-second-one", HOME="/home/somebody"
    )
    known = vault.known()
    assert {"tok-1234567", "pass-1234567", "sk-first-one", "sk-second-one"} <= known
    assert not {"false", "/home/me/.ssh/id", "/home/somebody", "sk-first-one,sk-second-one"} & known


def test_a_dotenv_that_breaks_keeps_its_last_good_form(config_directory: ConfigDirectory) -> None:
    config_directory.write(".env", "PORT=9\nHOST=h\n")
    first = config_directory.load()
    for content in (b"PORT=10\n= what\n", b"PORT=10\n\xff"):
        config_directory.write(".env", content)
        second = config_directory.load(first)
        assert (second.proxy.port, second.proxy.host) == (9, "h")
        assert len(second.problems) == 1
    (config_directory.root / ".env").unlink()
    (config_directory.root / ".env").mkdir()
    assert config_directory.load(second).proxy.port == 9
    (config_directory.root / ".env").rmdir()
    assert config_directory.load(second).proxy.port == 8000  # a deleted file is not remembered


def test_the_backend_flag_is_the_default_connection(config_directory: ConfigDirectory) -> None:
    config_directory.flags = {"backend": "gemini"}
    assert config_directory.load(GEMINI_API_KEY="g", API_KEY="k").proxy.default_connection == "gemini"


@pytest.mark.parametrize("text", ["port: eighty\n", "port: yes\n", "port: 70000\n"])
def test_overridden_values_are_still_checked(config_directory: ConfigDirectory, text: str) -> None:
    config_directory.write("proxy.yaml", text)
    for flags, environ in (({"port": 3}, {}), ({}, {"PORT": "3"})):
        config_directory.flags = dict(flags)
        with pytest.raises(ConfigError) as refused:
            config_directory.load(**environ)
        (problem,) = refused.value.problems
        assert (Path(problem.file).name, problem.line, problem.column) == ("proxy.yaml", 1, 7)


def test_an_overridden_value_may_use_an_unset_variable(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "proxy.yaml", "connections: {openai: {api_key: '${NOT_SET}'}}\ngroups: {default: {api_keys: ['${NO}']}}\n"
    )
    snapshot = config_directory.load(OPENAI_API_KEY="k", PROXY_API_KEYS="c")
    assert snapshot.problems == ()
    assert snapshot.proxy.connections["openai"].api_keys == ("k",)


def test_an_unknown_backend_is_not_hidden_by_echo(config_directory: ConfigDirectory) -> None:
    config_directory.flags = {"backend": "opneai"}
    for environ in ({}, {"OPENAI_API_KEY": "k"}):
        snapshot = config_directory.load(**environ)
        assert snapshot.proxy.default_connection is None
        assert snapshot.problems[0].message.startswith('LLM_BACKEND or --backend: there is no connection "opneai"')
        assert "echo" not in snapshot.proxy.connections
    config_directory.flags = {"backend": "echo"}
    assert config_directory.load().proxy.default_connection == "echo"

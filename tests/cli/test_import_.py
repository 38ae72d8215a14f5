"""`import`: what is carried over, what is reported as lost, and that the result is valid."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from openai_proxy.cli.check import command as check
from openai_proxy.cli.import_ import command as import_
from openai_proxy.config.load import load
from openai_proxy.config.snapshot import Snapshot

LM_PROXY = """
host = "0.0.0.0"
port = 8123
[connections.openai]
api_type = "open_ai"
api_base = "https://api.openai.com/v1/"
api_key = "env:OPENAI_API_KEY"
[connections."google main"]
api_type = "google_ai_studio"
api_key = "env:GOOGLE_API_KEY"
[connections.odd]
api_type = "function"
function = "mine.answer"
[routing]
"gpt*" = "openai.*"
"gemini*" = "google main.*"
"odd*" = "odd.*"
"*" = "openai.gpt-4o-mini"
[groups.family]
api_keys = ["sk-plain-$money", "env:FAMILY_KEY"]
allowed_connections = "openai,odd"
[[loggers]]
class = "lm_proxy.loggers.BaseLogger"
[loggers.log_writer]
class = "lm_proxy.loggers.log_writers.JsonLogWriter"
file_name = "storage/json.log"
[loggers.entry_transformer]
class = "lm_proxy.loggers.LogEntryTransformer"
"""

BACKENDS = """{
  "primary_backends": [
    {"name": "LLM1", "url": "http://test1.example.com/v1", "model": "model-1"},
    {"name": "LLM2", "url": "https://test2.example.com", "model": "", "weight": 3}
  ],
  "settings": {"timeout": 60, "retries": 4},
  "strategy": {"concatenate": {"separator": "-"}}
}"""

LITELLM = """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 60}
  - model_name: gpt-4o
    litellm_params: {model: openrouter/openai/gpt-4o, api_key: os.environ/OPENROUTER_API_KEY}
  - model_name: claude
    litellm_params: {model: anthropic/claude-opus-4-1, api_key: sk-ant-literal}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: sk-ant-literal}
  - model_name: llama
    litellm_params: {model: ollama/llama3.1, api_base: "http://192.168.1.4:11434"}
  - model_name: azure-one
    litellm_params: {model: azure/my-deployment, api_base: "https://x.openai.azure.com"}
  - model_name: "*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
litellm_settings:
  num_retries: 3
  request_timeout: 90
  fallbacks: [{"claude": ["llama"]}]
  drop_params: true
router_settings: {routing_strategy: latency-based-routing}
general_settings: {master_key: sk-1234, database_url: "postgres://x"}
"""


def run(tmp_path: Path, name: str, text: str, *more: str) -> tuple[Result, Snapshot]:
    source = tmp_path / name
    source.write_text(text)
    conf = tmp_path / "conf"
    arguments = [str(source), "--config-dir", str(conf), "--env-file", str(tmp_path / ".env"), *more]
    result = CliRunner().invoke(import_, arguments, standalone_mode=False)
    assert result.exception is None, result.exception
    checked = CliRunner().invoke(
        check, ["--config-dir", str(conf), "--env-file", str(tmp_path / ".env")], standalone_mode=False
    )
    assert checked.return_value == 0, checked.output
    return result, load(conf, tmp_path / ".env", {"OPENAI_API_KEY": "sk-from-env-1"})


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the variables of the machine that runs the tests."""
    for name in ("OPENAI_API_KEY", "OPENROUTER_API_KEY", "GEMINI_API_KEY", "ANTHROPIC_API_KEY", "API_KEY", "BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_lm_proxy(tmp_path: Path) -> None:
    result, snapshot = run(tmp_path, "config.toml", LM_PROXY)
    proxy = snapshot.proxy
    assert (proxy.host, proxy.port) == ("0.0.0.0", 8123)
    assert list(proxy.connections) == ["openai", "google-main"]
    assert proxy.connections["openai"].api_keys == ("sk-from-env-1",)
    assert {name: rule.targets for name, rule in proxy.routing.items()} == {
        "gpt*": ("openai.*",),
        "gemini*": ("google-main.*",),
        "*": ("openai.gpt-4o-mini",),
    }
    assert proxy.groups["family"].api_keys[0] == "sk-plain-$money"
    assert proxy.groups["family"].allowed_connections == ("openai",)
    assert proxy.loggers[0].file_name == "json.log"
    for expected in ("connections.odd", "routing.odd*", "loggers[0].entry_transformer", "set OPENAI_API_KEY in .env"):
        assert expected in result.output
    written = tmp_path / "conf" / "proxy.yaml"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert "# Not carried over" in written.read_text()


def test_primary_backends(tmp_path: Path) -> None:
    result, snapshot = run(tmp_path, "config.json", BACKENDS)
    proxy = snapshot.proxy
    assert [(name, c.api_base, c.model) for name, c in proxy.connections.items()] == [
        ("LLM1", "http://test1.example.com/v1", "model-1"),
        ("LLM2", "https://test2.example.com/v1", ""),
    ]
    assert proxy.connections["LLM1"].forward_auth
    assert proxy.connections["LLM1"].timeout.first_byte == 60
    assert proxy.default_connection == "LLM1"
    assert proxy.routing["*"].targets == ("LLM1.*", "LLM2.*")
    for expected in ("primary_backends[1].weight", "settings.retries", "strategy"):
        assert expected in result.output


def test_litellm(tmp_path: Path) -> None:
    result, snapshot = run(tmp_path, "config.yaml", LITELLM)
    proxy = snapshot.proxy
    routes = {name: (rule.targets, rule.policy) for name, rule in proxy.routing.items()}
    assert routes == {
        "gpt-4o": (("openai.gpt-4o", "openrouter.openai/gpt-4o"), "round_robin"),
        "claude": (("anthropic.claude-opus-4-1", "anthropic.claude-sonnet-4-5", "ollama.llama3.1"), "ordered"),
        "llama": (("ollama.llama3.1",), "ordered"),
        "*": (("openai.*",), "ordered"),
    }
    assert list(proxy.connections) == ["openai", "openrouter", "anthropic", "ollama"]
    assert proxy.connections["anthropic"].api_keys == ("sk-ant-literal",)
    assert proxy.connections["ollama"].api_base == "http://192.168.1.4:11434"
    assert {c.max_retries for c in proxy.connections.values()} == {3}
    assert {c.timeout.idle for c in proxy.connections.values()} == {90}
    assert proxy.groups["default"].api_keys == ("sk-1234",)
    for expected in (
        "rpm",
        "azure/my-deployment",
        "drop_params",
        "routing_strategy",
        "database_url",
        "better move it to .env",
    ):
        assert expected in result.output


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    run(tmp_path, "config.json", BACKENDS)
    arguments = [str(tmp_path / "config.json"), "--config-dir", str(tmp_path / "conf")]
    again = CliRunner().invoke(import_, arguments, standalone_mode=False)
    assert "already exists" in str(again.exception)
    run(tmp_path, "config.json", BACKENDS, "--force")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.toml", "[[[", "a.toml"),
        ("a.json", "{", "a.json"),
        ("a.yaml", "a: [", "line"),
        ("a.yaml", "", "not a configuration"),
        ("a.yaml", "[1]", "not a configuration"),
        ("a.json", '{"something": "else"}', "not a configuration"),
        ("a.toml", "x = 1", "not a configuration"),
    ],
)
def test_an_unknown_file_is_reported(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).write_text(text)
    result = CliRunner().invoke(import_, [str(tmp_path / name), "--config-dir", str(tmp_path / "conf")],
                                standalone_mode=False)  # fmt: skip
    assert expected in str(result.exception)
    assert not (tmp_path / "conf").exists()


@pytest.mark.parametrize(
    "text",
    [
        '{"primary_backends": 5}',
        '{"primary_backends": [5, {}, {"url": 7}]}',
        '{"model_list": [{"model_name": 5, "litellm_params": 7}, {"litellm_params": {"model": null}}]}',
        '{"connections": {"a": 5, "b": {"api_type": []}}, "routing": {"x": 5, "y": ["z"]}, "groups": {"g": 5}}',
    ],
)
def test_malformed_parts_are_left_out(tmp_path: Path, text: str) -> None:
    run(tmp_path, "config.json", text)

"""Whatever the files contain, loading gives a snapshot or problems with places, and nothing else."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from openai_proxy.config.connection import ConnectionConfig, ParamsConfig, TimeoutConfig
from openai_proxy.config.model_file import McpFilter, ModelConfig
from openai_proxy.config.problems import ConfigError
from openai_proxy.config.proxy import CorsConfig, GroupConfig, LimitsConfig, LoggerConfig, ProxyConfig
from openai_proxy.config.servers import ServerConfig
from tests.config.conftest import ConfigDirectory

MODELS: list[type[BaseModel]] = [
    ConnectionConfig,
    ParamsConfig,
    TimeoutConfig,
    McpFilter,
    ModelConfig,
    CorsConfig,
    GroupConfig,
    LimitsConfig,
    LoggerConfig,
    ProxyConfig,
    ServerConfig,
]


def _keys() -> Iterator[str]:
    for model in MODELS:
        yield from (info.alias or name for name, info in model.model_fields.items())


KEYS = st.sampled_from([*sorted(set(_keys())), "a", "a.b", "*", "[", "openai", "servers", "targets", "policy", ""])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["a.b", "*", "${A}", "env:A", "${A:-x}", "$$", "auto", "http://h", "10.0.0.0/8", "sha256:", "echo", ""]
    ),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(
    proxy=st.dictionaries(KEYS, VALUES, max_size=5),
    model=st.dictionaries(KEYS, VALUES, max_size=5),
    server=st.dictionaries(KEYS, VALUES, max_size=5),
)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_content_is_a_snapshot_or_problems(
    config_directory: ConfigDirectory, proxy: dict[str, object], model: dict[str, object], server: dict[str, object]
) -> None:
    config_directory.write("proxy.yaml", "")
    config_directory.write("models/m.yaml", json.dumps({"name": "m", **model}))
    config_directory.write("mcp/servers.yaml", json.dumps({"servers": {"s": server}}))
    first = config_directory.load()
    config_directory.write("proxy.yaml", json.dumps(proxy))
    second = config_directory.load(first)
    assert all(p.line >= 1 and p.column >= 1 and "\n" not in p.message for p in second.problems)
    try:
        third = config_directory.load()
    except ConfigError:
        assert second.proxy == first.proxy
        assert second.problems
        return
    assert third.proxy.model_dump(exclude={"admin_api_keys"}) == second.proxy.model_dump(exclude={"admin_api_keys"})


@pytest.mark.parametrize(
    "name", ["proxy.yaml", "models/m.yaml", "mcp/servers.yaml", "skills/s.md", "skills/s.yaml", ".env"]
)
@given(content=st.binary(max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_are_a_snapshot_or_problems(config_directory: ConfigDirectory, name: str, content: bytes) -> None:
    config_directory.write(name, b"")
    first = config_directory.load()
    config_directory.write(name, content)
    config_directory.load(first)

"""The connections to which a model name leads."""

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.exchange import Target
from openai_proxy.routing.router import Router


def router(routing: dict[str, Any], *names: str, default: str | None = None, **models: str) -> Router:
    """A router for connections; `models` are connections with their own model."""
    connections: dict[str, Any] = {name: {"api_type": "openai"} for name in names}
    connections |= {name: {"api_type": "openai", "model": model} for name, model in models.items()}
    return Router(ProxyConfig.model_validate({"connections": connections, "routing": routing,
                                              "default_connection": default}))  # fmt: skip


def where(found: Router, model: str | None) -> list[tuple[str, str | None]] | None:
    route = found.resolve(model)
    return [(t.connection, t.model) for t in route.targets] if route is not None else None


RULES = {
    "gpt*": "openai.*",
    "fast": ["groq.llama-4", "openrouter.google/gemini-3-flash"],
    "smart": {"targets": ["anthropic.claude", "openrouter.*"], "policy": "round_robin"},
    "gpt-late": "groq.never",
    "v?": "groq.vendor/*",
    "*": "openrouter.*",
}


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        ("gpt-5", [("openai", None)]),
        ("gpt-late", [("openai", None)]),
        ("fast", [("groq", "llama-4"), ("openrouter", "google/gemini-3-flash")]),
        ("smart", [("anthropic", "claude"), ("openrouter", None)]),
        ("v8", [("groq", "vendor/v8")]),
        ("v88", [("openrouter", None)]),
        ("FAST", [("openrouter", None)]),
        ("groq:llama-3.3:free", [("groq", "llama-3.3:free")]),
        ("llama3:8b", [("openrouter", None)]),
        ("groq:", [("openrouter", None)]),
        ("a\nb", [("openrouter", None)]),
    ],
)
def test_the_first_rule_that_matches_decides(model: str, targets: list[tuple[str, str | None]]) -> None:
    found = router(RULES, "openai", "groq", "openrouter", "anthropic")
    assert where(found, model) == targets
    assert where(found, model) == targets  # the cached decision is the same


def test_models_without_a_matching_rule_use_the_default_connection() -> None:
    assert where(router({"a": "one.*"}, "one", "two", default="two"), "b") == [("two", None)]
    assert where(router({"a": "one.*"}, "one", "two"), "b") is None
    assert where(router({}, "only"), "b") == [("only", None)]
    assert where(router({}, "only"), None) == [("only", None)]
    assert where(router({"a": "one.*"}, "one", "two"), None) is None


def test_the_model_of_a_connection_overrides_the_name() -> None:
    found = router({"a": ["fixed.x", "one.y"]}, "one", fixed="always", default="fixed")
    assert where(found, "a") == [("fixed", "always"), ("one", "y")]
    assert where(found, "anything") == [("fixed", "always")]
    assert where(found, None) == [("fixed", "always")]
    assert where(found, "always") == [("fixed", None)], "the name is the same, so the body must stay unchanged"


def test_a_rule_without_a_usable_connection_is_skipped() -> None:
    found = router({"a*": "gone.x", "ab": "one.y"}, "one")
    assert where(found, "ab") == [("one", "y")]
    assert where(router({"a": ["gone.x", "one.y"]}, "one"), "a") == [("one", "y")]


def test_the_policy_and_the_rule_are_reported() -> None:
    route = router(RULES, "openai", "groq", "openrouter", "anthropic").resolve("smart")
    assert route is not None
    assert (route.policy, route.rule) == ("round_robin", "rule 'smart'")
    assert route.targets[0] == Target("anthropic", "claude")


def test_the_reason_of_a_decision() -> None:
    found = router(RULES, "openai", "groq", "openrouter", "anthropic", default="groq")
    assert found.why("gpt-late") == [
        ("gpt*", "decides"),
        ("fast", "does not match"),
        ("smart", "does not match"),
        ("gpt-late", "matches, but comes later"),
        ("v?", "does not match"),
        ("*", "matches, but comes later"),
        ("default connection 'groq'", "not needed"),
    ]
    assert found.why("groq:x")[0] == ("groq:…", "decides: a connection is named")
    assert found.why("llama:8b")[0] == ("llama:…", "no connection 'llama'")


texts = st.text(alphabet="ab*?[]!-.\n", min_size=1, max_size=6)


@given(st.lists(texts, min_size=1, max_size=8, unique=True), st.text(alphabet="ab.-\n]", max_size=6))
def test_the_combined_expression_matches_what_the_globs_match(patterns: list[str], name: str) -> None:
    try:
        found = router({pattern: f"one.{number}" for number, pattern in enumerate(patterns)}, "one", "two")
    except ValueError:
        return  # too many stars: refused by the configuration
    if not name:
        return
    first = next(
        (n for n, p in enumerate(patterns) if (fnmatchcase(name, p) if set("*?[") & set(p) else p == name)), None
    )
    assert where(found, name) == ([("one", str(first))] if first is not None else None)


def test_echo_is_always_there_unless_its_name_is_taken() -> None:
    assert where(router({"*": "a.*"}, "a"), "echo") == [("echo", None)]
    assert where(router({}), "echo") == [("echo", None)]
    assert where(router({}, "a", default="a"), "echo") == [("echo", None)]
    assert where(router({"echo": "a.x", "*": "a.*"}, "a"), "echo") == [("a", "x")]
    assert where(router({"*": "a.*"}, "a", "echo"), "echo") == [("a", None)]
    assert where(router({"echo": "gone.x"}, "a"), "echo") == [("echo", None)]
    assert where(router({"*": "a.*"}, "a"), "echoes") == [("a", None)]


def test_an_echo_connection_that_is_the_default_serves_echo_itself() -> None:
    config = ProxyConfig.model_validate({"connections": {"offline": {"api_type": "echo"}}})
    assert where(Router(config), "echo") == [("offline", None)]


def test_the_reason_says_that_echo_is_built_in() -> None:
    assert router({"*": "a.*"}, "a").why("echo") == [
        ("echo", "decides: it is built in"),
        ("*", "matches, but echo is built in"),
        ("default connection 'a'", "not needed"),
    ]

"""Request targets: which ones are ours, and which ones an upstream might read differently."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.endpoints import ROOTS, language, locate, split_target
from openai_proxy.errors import BadRequest, NotFound


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/v1/models", "/v1/models", ""),
        ("/v1/models?limit=2&x=%2e%2e", "/v1/models", "limit=2&x=%2e%2e"),
        ("/v1/models?a?b", "/v1/models", "a?b"),
        ("http://elsewhere:1/v1/models?x", "/v1/models", "x"),
        ("HTTPS://elsewhere", "/", ""),
        ("http://elsewhere?x=1", "", "x=1"),
        ("/v1/models/a%2Fb", "/v1/models/a%2Fb", ""),
        ("/v1/files/a..b/...", "/v1/files/a..b/...", ""),
        ("//host/v1", "//host/v1", ""),
    ],
)
def test_a_target_is_split_and_nothing_decoded(target: str, path: str, query: str) -> None:
    assert split_target(target) == (path, query)


@pytest.mark.parametrize(
    "target",
    [
        "*", "", "host:443", "v1/models", "ftp://host/v1", "/v1/../admin", "/v1/.", "/..", "/v1/%2e%2e/admin",
        "/v1/%2E./admin", "/v1/.%2e", "/v1\\models", "/v1/models#x", "http://host/v1/../admin",
    ],
)  # fmt: skip
def test_other_forms_and_dot_segments_are_refused(target: str) -> None:
    with pytest.raises(BadRequest) as refused:
        split_target(target)
    assert refused.value.code == "invalid_target"


@given(st.text("/.%2eE\\#?ab:", max_size=20))
def test_accepted_targets_have_no_dot_segment(text: str) -> None:
    try:
        path, _ = split_target("/" + text)
    except BadRequest:
        return
    decoded = path.replace("%2e", ".").replace("%2E", ".").split("/")
    assert not {".", ".."} & set(decoded)
    assert ("/" + text).startswith(path)


def test_the_api_answers_with_and_without_its_version() -> None:
    assert locate("POST", "/v1/chat/completions").path == "/chat/completions"
    assert locate("POST", "/v1/something/new").path == "/something/new", (
        "unknown paths must pass because providers add new ones"
    )
    for root in ROOTS:
        assert locate("POST", f"/{root}").path == f"/{root}"
        assert locate("POST", f"/{root}/x").path == f"/{root}/x"


@pytest.mark.parametrize("path", ["/", "", "/v1", "/v1/", "/v2/models", "/modelsx", "/wp-login", "//modelsx", "/V1/x"])
def test_other_paths_do_not_exist(path: str) -> None:
    with pytest.raises(NotFound):
        locate("GET", path)


@pytest.mark.parametrize(
    ("method", "path", "name", "below"),
    [
        ("POST", "/api/chat", "ollama/chat", "/api/chat"),
        ("POST", "//api/chat/", "ollama/chat", "/api/chat"),
        ("GET", "/api/tags", "ollama/tags", "/api/tags"),
        ("HEAD", "/api/version", "ollama/version", "/api/version"),
        ("DELETE", "/api/delete", "ollama/delete", "/api/delete"),
        ("POST", "/api/blobs/sha256:1", "ollama/blobs", "/api/blobs/sha256:1"),
        ("GET", "/v1beta/models", "gemini models", "/models"),
        ("GET", "/v1beta/models/a/b:c", "gemini model", "/models/a/b:c"),
        ("POST", "/v1beta/models/a/b:c:generateContent", "generate_content", "/models/a/b:c:generateContent"),
        ("POST", "/v1beta/models/a%2Fb:countTokens", "count_content_tokens", "/models/a%2Fb:countTokens"),
        ("POST", "/v1/models/a:streamGenerateContent", "stream_generate_content", "/models/a:streamGenerateContent"),
        ("GET", "/v1/models/llama3:8b", "model", "/models/llama3:8b"),
    ],
)
def test_paths_of_other_apis(method: str, path: str, name: str, below: str) -> None:
    found = locate(method, path)
    assert (found.name, found.path) == (name, below)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/nothing", 404), ("POST", "/api", 404), ("GET", "/api/chat", 405), ("POST", "/api/tags", 405),
        ("POST", "/v1beta/models/m", 405), ("POST", "/v1beta/files", 404), ("GET", "/v1beta/models/m:countTokens", 405),
    ],
)  # fmt: skip
def test_no_other_paths_of_other_apis_pass(method: str, path: str, status: int) -> None:
    with pytest.raises(NotFound) as refused:
        locate(method, path)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("path", "spoken"),
    [
        ("/api/x", "ollama"), ("/api", ""), ("/v1beta/x", "gemini"), ("/v1/models/m:countTokens", "gemini"),
        ("/v1/messages", "messages"), ("/messages/count_tokens", "messages"), ("/v1/models/m", ""), ("/v1/chat", ""),
    ],
)  # fmt: skip
def test_errors_have_the_format_of_the_path(path: str, spoken: str) -> None:
    assert language(path) == spoken

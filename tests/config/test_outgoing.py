"""Which proxy is used for a URL according to the usual variables."""

import pytest

from openai_proxy.config.connection import proxy_setting
from openai_proxy.config.outgoing import from_environment

P = "http://proxy.home:3128"


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://api.openai.com/v1", {}, "none"),
        ("https://api.openai.com/v1", {"HTTPS_PROXY": P}, P),
        ("https://api.openai.com/v1", {"https_proxy": P, "HTTPS_PROXY": "http://other:1"}, P),
        ("https://api.openai.com/v1", {"HTTP_PROXY": P}, "none"),
        ("http://ollama:11434/v1", {"HTTP_PROXY": P}, P),
        ("https://api.openai.com/v1", {"ALL_PROXY": P}, P),
        ("https://api.openai.com/v1", {"HTTPS_PROXY": "proxy.home:3128"}, P),
        ("https://api.openai.com/v1", {"HTTPS_PROXY": "  "}, "none"),
        ("http://localhost:11434/v1", {"HTTP_PROXY": P}, "none"),
        ("http://127.0.0.53:11434/v1", {"HTTP_PROXY": P}, "none"),
        ("http://localhost.:11434/v1", {"HTTP_PROXY": P}, "none"),
        ("http://[::1]:11434/v1", {"HTTP_PROXY": P}, "none"),
        ("", {"HTTP_PROXY": P}, "none"),
    ],
)
def test_the_relevant_variable(url: str, environ: dict[str, str], proxy: str) -> None:
    assert from_environment(url, environ).proxy == proxy


@pytest.mark.parametrize(
    ("listed", "url", "direct"),
    [
        ("*", "https://api.openai.com/v1", True),
        ("api.openai.com", "https://api.openai.com/v1", True),
        ("openai.com", "https://api.openai.com/v1", True),
        (".openai.com", "https://api.openai.com/v1", True),
        ("*.openai.com", "https://api.openai.com/v1", True),
        ("OpenAI.com", "https://api.openai.com/v1", True),
        ("openai.com", "https://api.openai.com./v1", True),
        ("openai.com.", "https://api.openai.com/v1", True),
        ("penai.com", "https://api.openai.com/v1", False),
        ("a.example, openai.com", "https://api.openai.com/v1", True),
        ("a.example openai.com", "https://api.openai.com/v1", True),
        ("openai.com:443", "https://api.openai.com/v1", True),
        ("openai.com:8443", "https://api.openai.com/v1", False),
        ("192.168.1.20", "http://192.168.1.20:11434/v1", True),
        ("192.168.0.0/16", "http://192.168.1.20:11434/v1", True),
        ("192.168.0.0/24", "http://192.168.1.20:11434/v1", False),
        ("192.168.1.20:11434", "http://192.168.1.20:11434/v1", True),
        ("192.168.1.20:80", "http://192.168.1.20:11434/v1", False),
        ("fd00::/8", "http://[fd00::5]:11434/v1", True),
        ("[fd00::5]:11434", "http://[fd00::5]:11434/v1", True),
        ("fd00::5", "http://[fd00::5]:11434/v1", True),
        (",,", "https://api.openai.com/v1", False),
        ("", "https://api.openai.com/v1", False),
    ],
)
def test_exceptions_of_no_proxy(listed: str, url: str, direct: bool) -> None:
    found = from_environment(url, {"HTTP_PROXY": P, "HTTPS_PROXY": P, "NO_PROXY": listed}).proxy
    assert found == ("none" if direct else P)


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:9050", "ftp://x", "http://", "http://x:0", "http://x/path"])
def test_an_invalid_proxy_is_reported_in_words(value: str) -> None:
    with pytest.raises(ValueError, match=r"proxy|proxies"):
        proxy_setting(value)
    chosen = from_environment("https://api.openai.com/v1", {"HTTPS_PROXY": value})
    assert (chosen.proxy, chosen.variable) == ("none", "HTTPS_PROXY")
    assert chosen.trouble


def test_no_message_contains_a_password() -> None:
    with pytest.raises(ValueError, match="expected env") as told:
        proxy_setting("ftp://user:top-secret@host")
    assert "top-secret" not in str(told.value)


@pytest.mark.parametrize(("value", "meant"), [("env", "env"), ("ENV", "env"), ("none", "none"), ("", "none")])
def test_env_and_none(value: str, meant: str) -> None:
    assert proxy_setting(value) == meant

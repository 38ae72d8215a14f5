"""The vault: what it knows, for how long, and what it removes from text."""

from pathlib import Path

import pytest

from openai_proxy.children import inherited
from openai_proxy.config.environment import read_environment
from openai_proxy.secrets import SECRET_NAME, Vault, vault


def test_learned_secrets_stay_known() -> None:
    vault = Vault()
    vault.learn(["first-secret", "short"])
    assert vault.scrub("a first-secret and a short one") == "a [REDACTED] and a short one"
    assert vault.found_in("first-secret")


def test_rotating_secrets_are_known_until_the_rotation_after_the_next() -> None:
    vault = Vault()
    for token in ("token-one", "token-two", "token-three"):
        vault.rotate("server", [token])
    assert vault.known() == {"token-two", "token-three"}
    vault.rotate("other", ["token-of-another"])
    assert vault.known() == {"token-two", "token-three", "token-of-another"}
    version = vault.version
    vault.rotate("other", ["token-of-another"])
    assert vault.version == version, "rotating to the same token must not change the version"
    vault.rotate("server", [])
    vault.rotate("server", ["token-four"])
    assert vault.scrub("token-two token-three token-four") == "token-two token-three [REDACTED]"


def test_a_rotating_secret_that_is_also_a_lasting_one_stays() -> None:
    vault = Vault()
    vault.learn(["the-secret"])
    for token in ("the-secret", "next-secret", "last-secret"):
        vault.rotate("server", [token])
    assert "the-secret" in vault.known()


@pytest.mark.parametrize("name", ["OTHER_API_KEY", "MQTT_AUTH", "SESSION_COOKIE", "HF_TOKEN", "DB_PASSWORD"])
def test_one_list_decides_which_names_are_secret(name: str, tmp_path: Path) -> None:
    """The variables that a child does not get are those that the vault knows and that are never written."""
    assert SECRET_NAME.search(name)
    value = f"value-of-{name}-83641"
    assert inherited({f"XDG_{name}": value, "XDG_PLAIN": "x"}) == {"XDG_PLAIN": "x"}
    read_environment(tmp_path / ".env", {name: value})
    assert vault.found_in(value)


@pytest.mark.parametrize("name", ["GIT_AUTHOR_NAME", "UV_KEYRING_PROVIDER", "XKB_KEYBOARD", "LANG"])
def test_similar_names_are_not_secret(name: str) -> None:
    assert SECRET_NAME.search(name) is None


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("Authorization", True), ("PROXY_AUTHORIZATION", True), ("X-Auth", True), ("oauth_token", True),
        ("OPENAI_API_KEY", True), ("GIT_AUTHOR_NAME", False), ("author", False), ("KEYRING_BACKEND", False),
    ],
)  # fmt: skip
def test_names_that_are_secret(name: str, secret: bool) -> None:
    assert (SECRET_NAME.search(name) is not None) == secret

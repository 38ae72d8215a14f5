"""The vault: what it knows, for how long, and what it takes out of text."""

from openai_proxy.secrets import Vault


def test_what_was_learnt_stays_known() -> None:
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
    assert vault.version == version, "nothing new, so nothing is compiled anew"
    vault.rotate("server", [])
    vault.rotate("server", ["token-four"])
    assert vault.scrub("token-two token-three token-four") == "token-two token-three [REDACTED]"


def test_a_rotating_secret_that_is_a_lasting_one_too_stays() -> None:
    vault = Vault()
    vault.learn(["the-secret"])
    for token in ("the-secret", "next-secret", "last-secret"):
        vault.rotate("server", [token])
    assert "the-secret" in vault.known()

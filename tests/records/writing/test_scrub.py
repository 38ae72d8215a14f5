"""No secret in a line, whether there are few or many of them, or a host program has its own rule."""

from openai_proxy.records.writing.scrub import Scrubber
from openai_proxy.secrets import Vault


def test_few_secrets_and_many() -> None:
    for count in (1, 5, 60):
        vault = Vault()
        scrubber = Scrubber(vault)
        assert scrubber.data(b'{"a": "nothing here"}\n') == b'{"a": "nothing here"}\n'
        secrets = [f"{n:03d}-secret-{n}" for n in range(count)]
        vault.learn(secrets)
        line = ('{"a": "' + " ".join(secrets) + '", "b": "secret é"}\n').encode()
        clean = scrubber.data(line)
        assert not any(secret.encode() in clean for secret in secrets)
        assert clean.count(b"[REDACTED]") == count
        assert "secret é".encode() in clean


def test_a_secret_learned_later_is_removed_too() -> None:
    vault = Vault()
    scrubber = Scrubber(vault)
    scrubber.data(b"x")
    vault.learn(["later-secret"])
    assert scrubber.data(b"a later-secret b") == b"a [REDACTED] b"


def test_secrets_as_json_writes_them() -> None:
    vault = Vault()
    vault.learn(['quo"ted\\sec\nret'])
    scrubber = Scrubber(vault)
    assert scrubber.data(rb'{"a": "x quo\"ted\\sec\nret y"}') == b'{"a": "x [REDACTED] y"}'


def test_the_rule_of_a_host_program_sees_every_line() -> None:
    scrubber = Scrubber(Vault(), lambda data: data.replace(b"c2VjcmV0", b"[REDACTED]"))
    assert scrubber.data(b"x c2VjcmV0 y") == b"x [REDACTED] y"

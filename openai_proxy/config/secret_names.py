"""Which parts of a header are secret, judging by its name."""

from collections.abc import Iterator, Mapping

from openai_proxy.secrets import SECRET_NAME


def header_secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """The values of header fields with secret-sounding names, and separately what follows a scheme such as Bearer."""
    for name, value in headers.items():
        if SECRET_NAME.search(name):
            yield value
            scheme, _, credential = value.partition(" ")
            if credential and scheme.isalpha():
                yield credential.strip()

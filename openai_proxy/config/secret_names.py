"""What of a header is a secret by its name, so that it is written nowhere."""

from collections.abc import Iterator, Mapping

from openai_proxy.secrets import SECRET_NAME


def header_secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """The values of header fields named like secrets, and what stands behind a scheme such as Bearer by itself."""
    for name, value in headers.items():
        if SECRET_NAME.search(name):
            yield value
            scheme, _, credential = value.partition(" ")
            if credential and scheme.isalpha():
                yield credential.strip()

"""What of a configuration is a secret by its name, so that it is written nowhere."""

import re
from collections.abc import Iterator, Mapping

SECRET_NAME = re.compile(r"key|token|secret|passw|auth|cookie|credential", re.IGNORECASE)


def header_secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """The values of header fields named like secrets, and what stands behind a scheme such as Bearer by itself."""
    for name, value in headers.items():
        if SECRET_NAME.search(name):
            yield value
            scheme, _, credential = value.partition(" ")
            if credential and scheme.isalpha():
                yield credential.strip()

"""Where secrets are removed from a request."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from openai_proxy.pipeline import redacting
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document
from openai_proxy.tasks import is_beside


@pytest.mark.parametrize("large", [False, True])
async def test_a_large_body_is_cleaned_in_a_thread_that_works_in_steps(large: bool) -> None:
    """Strings with a secret are rewritten; in one call, 100 MB would hold the interpreter lock for a second."""
    stepped: list[bool] = []

    def clean(body: bytes, *_: Any) -> bytes:
        stepped.append(is_beside())
        return body

    redactor = SimpleNamespace(fresh=True, body=clean)
    context = SimpleNamespace(
        redacts=True, state=SimpleNamespace(redactor=redactor), request=SimpleNamespace(headers={})
    )
    body = b"{}" + b" " * (redacting.IN_PIECES if large else 0)
    document = Document(body, {}, body)
    assert await redacting.clean(cast(RequestContext, context), document) is document
    assert stepped == [large]

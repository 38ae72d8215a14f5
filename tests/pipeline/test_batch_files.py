"""Files of batch requests: inspected wherever the upload is cut, and only if they are batches."""

import json
from collections.abc import AsyncIterator

import pytest

from openai_proxy.errors import BadRequest
from openai_proxy.pipeline import batch_files
from openai_proxy.pipeline.batch_files import BatchFile
from openai_proxy.pipeline.form_parts import Form

NAMES = {"augmented/house"}


def line(model: object) -> bytes:
    return json.dumps({"custom_id": "1", "method": "POST", "body": {"model": model}}).encode()


def form(*parts: tuple[str, bytes]) -> bytes:
    made = b""
    for name, content in parts:
        file = b'; filename="b.jsonl"' if name == "file" else b""
        head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + file
        made += b"--xyz\r\n" + head + b"\r\n\r\n" + content + b"\r\n"
    return made + b"--xyz--\r\n"


async def passed(body: bytes, size: int) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    form = Form(b"xyz", pieces(), [BatchFile(NAMES)])
    return b"".join([chunk.data async for chunks in form.chunks() for chunk in chunks])


PURPOSE = ("purpose", b"batch")
NAMED = ("file", line("gpt") + b"\n" + line("augmented/house") + b"\n")


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100000])
@pytest.mark.parametrize("parts", [(PURPOSE, NAMED), (NAMED, PURPOSE), (PURPOSE, ("file", line("augmented/house")))])
async def test_augmented_models_are_found(parts: tuple[tuple[str, bytes], ...], size: int) -> None:
    with pytest.raises(BadRequest, match="'augmented/house' cannot be used in a batch"):
        await passed(form(*parts), size)


@pytest.mark.parametrize("size", [1, 5, 100000])
@pytest.mark.parametrize(
    "parts",
    [
        (("purpose", b"fine-tune"), NAMED),
        (NAMED,),
        (PURPOSE, ("file", line("gpt") + b"\n\nnot json\n[1]\n" + line(3) + b"\n")),
        (PURPOSE, ("other", line("augmented/house"))),
    ],
)
async def test_everything_else_passes_unchanged(parts: tuple[tuple[str, bytes], ...], size: int) -> None:
    body = form(*parts)
    assert await passed(body, size) == body


async def test_an_overlong_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_files, "MAX_LINE", 200)
    body = form(PURPOSE, ("file", line("x" * 300)))
    with pytest.raises(BadRequest, match="too long"):
        await passed(body, 50)

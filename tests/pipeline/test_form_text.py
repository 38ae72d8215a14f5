"""Text fields of a form lose their secrets and keep their length; everything else keeps its bytes."""

import itertools
import random
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.errors import BadRequest
from openai_proxy.pipeline.form_parts import Form
from openai_proxy.pipeline.form_text import HELD, TextFields

SECRET = "sk-secret-0123456789abcdef"
MARK = "[REDACTED]"


def clean(text: str) -> str:
    return text.replace(SECRET, MARK).replace("tiny55", MARK)


def part(value: bytes, head: str) -> bytes:
    return b"--b0\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + value + b"\r\n"


async def through(body: bytes, *cuts: int, boundary: bytes = b"b0") -> bytes:
    edges = [0, *sorted(cuts), len(body)]

    async def pieces() -> AsyncIterator[bytes]:
        for start, stop in itertools.pairwise(edges):
            yield body[start:stop]

    form = Form(boundary, pieces(), [TextFields(boundary, clean)])
    return b"".join([chunk.data async for chunks in form.chunks() for chunk in chunks])


def form(prompt: bytes, file: bytes = b"RIFF\r\n--b\0") -> bytes:
    return (
        part(file + SECRET.encode(), 'name="file"; filename="a.wav"\r\nContent-Type: audio/wav')
        + part(prompt, 'name="prompt"')
        + part(SECRET.encode(), 'name="model"')
        + b"--b0--\r\n"
    )


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (f"my {SECRET}.", f"my {MARK}." + " " * (len(SECRET) - len(MARK))),
        (SECRET, MARK + " " * (len(SECRET) - len(MARK))),
        ("tiny55", "***   "),
        ("größe 日本", "größe 日本"),
        ("", ""),
        ("two\r\nlines\r\n", "two\r\nlines\r\n"),
    ],
)
async def test_fields_keep_their_length_at_any_cut(said: str, sent: str) -> None:
    body, expected = form(said.encode()), form(sent.encode())
    assert len(body) == len(expected)
    for cut in range(len(body)):
        assert await through(body, cut) == expected


async def test_binary_bytes_stay() -> None:
    said = b"\xff\xfe\x80 \xed\xa0\x80"
    assert await through(form(said)) == form(said)
    assert (await through(form(said + SECRET.encode()))).startswith(form(said)[: form(said).index(said) + len(said)])


async def test_fields_too_large_to_hold_are_cleaned_in_passing() -> None:
    for before in (0, HELD - 10, HELD, 2 * HELD + 100):
        body = form(b"x" * before + SECRET.encode() + b"y" * HELD)
        out = await through(body, *range(50_000, len(body), 50_000))
        assert len(out) == len(body)
        assert out.count(SECRET.encode()) == 2, "the secret may remain only in the file and in the model field"


@given(st.binary(max_size=300), st.integers(0, 2**32))
async def test_bodies_that_are_not_forms_pass_unchanged(body: bytes, seed: int) -> None:
    cuts = [random.Random(seed).randrange(len(body) + 1) for _ in range(5)]
    assert await through(body, *cuts) == body


async def test_forms_without_an_end_are_passed_on_whole() -> None:
    body = form(b"hello")[:-20]
    assert await through(body, 40) == body


async def test_held_bytes_come_at_the_end() -> None:
    body = form(SECRET.encode())[:-30]
    assert len(await through(body)) == len(body)


@pytest.mark.parametrize("before", [0, HELD + 100])
async def test_a_mark_never_becomes_a_boundary(before: int) -> None:
    """Otherwise a client could choose its boundary so that one part goes unchecked."""
    said = b"x" * before + b"\r\n--" + SECRET.encode() + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\ndear'
    body = form(said).replace(b"--b0", b"--" + MARK.encode())
    for cut in (body.index(SECRET.encode()), body.index(b"dear"), len(body) - 1):
        with pytest.raises(BadRequest, match="field with a secret"):
            await through(body, cut, boundary=MARK.encode())

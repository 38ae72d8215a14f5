"""The model field of an upload: found at every cut, the only thing changed, and never there twice."""

import itertools
from collections.abc import AsyncIterator, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.errors import BadRequest
from openai_proxy.pipeline.form_parts import MAX_PART_HEAD, Form, boundary_of
from openai_proxy.pipeline.multipart import MAX_FIELD, ModelField

EDGE = b"XbX"


def part(name: str, value: bytes, extra: str = "", head: str = "Content-Disposition: form-data") -> bytes:
    return b"--" + EDGE + f'\r\n{head}; name="{name}"{extra}\r\n\r\n'.encode() + value + b"\r\n"


END = b"--" + EDGE + b"--\r\n"
FILE = part("file", b"RIFF\0\r\n--Xb\r\n\r\nname=model\r\n" * 3, '; filename="a.wav"\r\nContent-Type: audio/wav')
BEFORE = part("model", b"whisper-1") + FILE + END
AFTER = b"a preamble\r\n" + part("language", b"") + FILE + part("model", b"whisper-1") + END


async def stream(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def find_model(body: bytes, *cuts: int) -> tuple[ModelField, str | None]:
    edges = [0, *cuts, len(body)]
    field = ModelField(Form(EDGE, stream(body[a:b] for a, b in itertools.pairwise(edges))))
    _opened.append(field)
    return field, await field.find()


_opened: list[ModelField] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Closes what a test opened, as the endpoint does."""
    yield
    while _opened:
        _opened.pop().close()


async def sent(field: ModelField, replacement: str | None = None) -> bytes:
    return b"".join([piece async for piece in field.replay(replacement)])


@pytest.mark.parametrize("body", [BEFORE, AFTER], ids=["model first", "model last"])
@pytest.mark.parametrize("replacement", [None, "m", "a-longer-name/é"])
async def test_the_model_is_found_and_changed_at_every_cut(body: bytes, replacement: str | None) -> None:
    expected = body if replacement is None else body.replace(b"whisper-1", replacement.encode())
    for cut in range(len(body) + 1):
        field, model = await find_model(body, cut)
        assert model == "whisper-1"
        assert field.growth(replacement) == len(expected) - len(body)
        assert await sent(field, replacement) == expected


async def test_the_model_is_found_byte_by_byte() -> None:
    field, model = await find_model(AFTER, *range(1, len(AFTER)))
    assert model == "whisper-1"
    assert await sent(field, "n") == AFTER.replace(b"whisper-1", b"n")


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=4))
async def test_the_contents_of_a_file_change_nothing(content: bytes, cuts: list[int]) -> None:
    body = part("file", content.replace(b"--" + EDGE, b""), '; filename="x"') + part("model", b"m") + END
    field, model = await find_model(body, *sorted(cut for cut in cuts if cut < len(body)))
    assert model == "m"
    assert await sent(field, "n") == body.replace(part("model", b"m"), part("model", b"n"))


async def test_bodies_without_the_field_pass_unchanged() -> None:
    body = part("file", b"abc") + part("model_size", b"big") + part("submodel", b"x") + END
    field, model = await find_model(body, 40)
    assert model is None
    assert field.growth("other") == 0
    assert await sent(field, "other") == body


@pytest.mark.parametrize(
    "head",
    [
        "content-disposition:form-data; name=model",
        'CONTENT-DISPOSITION: form-data; filename="x"; name="model"',
        'Content-Type: text/plain\r\nContent-Disposition: form-data;name="model";x=y',
    ],
)
async def test_part_headers_as_clients_write_them(head: str) -> None:
    body = b"--" + EDGE + b"\r\n" + head.encode() + b"\r\n\r\nm\r\n" + END
    assert (await find_model(body))[1] == "m"


async def test_an_empty_part_does_not_hide_the_next() -> None:
    body = b"--" + EDGE + b'\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + part("model", b"m") + END
    assert (await find_model(body))[1] == "m"
    empty = b"--" + EDGE + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + part("file", b"f") + END
    assert (await find_model(empty))[1] == ""


async def test_two_models_in_the_held_part_are_refused() -> None:
    body = part("model", b"cheap") + part("model", b"dear") + END
    with pytest.raises(BadRequest, match="more than once"):
        await find_model(body)


async def test_a_late_second_model_breaks_the_upload_before_it_is_sent() -> None:
    body = part("model", b"cheap") + FILE + part("model", b"dear") + END
    for cut in range(body.index(b"RIFF"), body.index(b"dear\r\n--XbX") + 11):
        field, model = await find_model(body, cut)
        assert model == "cheap"
        passed: list[bytes] = []

        async def pass_on(field: ModelField = field, passed: list[bytes] = passed) -> None:
            async for piece in field.replay(None):
                passed.append(piece)  # noqa: PERF401 - the pieces before the error count

        with pytest.raises(BadRequest, match="more than once"):
            await pass_on()
        gone = b"".join(passed)
        assert body.startswith(gone)
        assert not gone.endswith(b"dear\r\n--XbX\r\n"), "the delimiter after the second field must not be sent"


async def test_a_model_hidden_in_a_file_name_is_not_the_model() -> None:
    body = part("file", b"cheap", '; filename="; name=model; "') + part("model", b"dear") + END
    with pytest.raises(BadRequest, match="more than one way"):
        await find_model(body)


async def test_endless_and_binary_fields_are_refused() -> None:
    with pytest.raises(BadRequest, match="too long"):
        await find_model(part("model", b"m" * (MAX_FIELD + 1)) + END)
    with pytest.raises(BadRequest, match="no end"):
        await find_model(b"--" + EDGE + b"\r\nX: " + b"y" * MAX_PART_HEAD)
    with pytest.raises(BadRequest, match="UTF-8"):
        await find_model(part("model", b"\xff") + END)


async def test_a_long_epilogue_is_not_read_as_a_header() -> None:
    body = part("file", b"abc") + END + b"e" * (2 * MAX_PART_HEAD)
    field, model = await find_model(body)
    assert model is None
    assert await sent(field) == body


async def test_a_large_file_before_the_model_goes_to_disk_and_is_replayed_whole() -> None:
    body = part("file", b"abcdefgh" * 200_000) + part("model", b"m") + part("prompt", b"p") + END
    field, model = await find_model(body, *range(65536, len(body), 65536))
    assert model == "m"
    assert await sent(field, "nn") == body.replace(part("model", b"m"), part("model", b"nn"))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('multipart/form-data; charset=utf-8; Boundary="a b;c"; x=y', b"a b;c"),
        ("multipart/form-data;boundary=abc;x=y", b"abc"),
    ],
)
def test_the_boundary(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", 'x; boundary=""'])
def test_a_body_without_a_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(BadRequest, match="no boundary"):
        boundary_of(content_type)

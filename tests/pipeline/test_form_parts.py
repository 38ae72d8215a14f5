"""Forms that a lenient server could read as having another model or another field are refused."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.errors import BadRequest
from openai_proxy.pipeline.form_parts import FormSplitter, Part, boundary_of, read_head

DISPOSITION = "Content-Disposition: form-data; "


@pytest.mark.parametrize(
    ("head", "part"),
    [
        ('name="model"', Part("model", False)),
        ("name=model", Part("model", False)),
        ('name = "model"', Part("model", False)),
        (' name="model" ; x = y ;', Part("model", False)),
        ('filename="x"; name="model"', Part("model", True)),
        ('name="file"; filename="model.bin"', Part("file", True)),
        ('name="file"; filename="a \\"b\\".wav"', Part("file", True)),
        ("name=\"file\"; filename*=UTF-8''na%C3%AFve.txt", Part("file", True)),
        ('name="file"; filename="na\u00efve.wav"\r\nContent-Type: audio/wav', Part("file", True)),
        ('name="prompt"\r\nContent-Type: text/plain; charset=UTF-8', Part("prompt", False)),
        ('name="prompt"\r\nContent-Type: text/plain; charset="utf-8"\r\nContent-Length: 3', Part("prompt", False)),
        ('name="prompt"\r\nContent-Transfer-Encoding: 8bit', Part("prompt", False)),
        ('name="timestamp_granularities[]"', Part("timestamp_granularities[]", False)),
        ('name="model_size"', Part("model_size", False)),
        ('name=""', Part("", False)),
    ],
)
def test_forms_as_clients_write_them(head: str, part: Part) -> None:
    assert read_head((DISPOSITION + head).encode()) == part


def test_parts_without_a_name() -> None:
    assert read_head(b"") == Part(None, False)
    assert read_head(b"Content-Type: application/json") == Part(None, False)


@pytest.mark.parametrize(
    "head",
    [
        DISPOSITION + 'name="mod\\el"',  # a quoted pair
        DISPOSITION + 'name="model"; name="other"',
        DISPOSITION + "name*=utf-8''model",
        DISPOSITION + 'name*0="mo"; name*1="del"',
        DISPOSITION + "name=\"x\"; name*=utf-8''model",
        DISPOSITION + 'name="model',
        DISPOSITION + 'name="model"x',
        DISPOSITION + 'name="file"; filename="; name=model; "',
        DISPOSITION + 'name="Model"',
        DISPOSITION + 'name="%6dodel"',
        DISPOSITION + 'name=" model"',
        DISPOSITION + 'name="model[]"',
        DISPOSITION + "name='model'",
        DISPOSITION + 'name="x"\r\n ; name="model"',  # a folded line
        DISPOSITION + 'name="x"\r\n' + DISPOSITION + 'name="model"',
        DISPOSITION + 'name="x"\nX: y',
        'Content-Disposition : form-data; name="x"',
        "no colon",
        "Content-Disposition: ; name=x",
        DISPOSITION + 'name="x"\r\nContent-Transfer-Encoding: base64',
        DISPOSITION + 'name="x"\r\nContent-Transfer-Encoding: quoted-printable',
        DISPOSITION + 'name="x"\r\nContent-Type: text/plain; charset=utf-16',
        DISPOSITION + 'name="x"\r\nContent-Type: text/plain; charset=utf-7',
        DISPOSITION + 'name="x"\r\nContent-Type: multipart/mixed; boundary=y',
        DISPOSITION + 'name="x\0"',
    ],
)
def test_ambiguous_parts_are_refused(head: str) -> None:
    with pytest.raises(BadRequest, match="more than one way"):
        read_head(head.encode())


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary*=utf-8''a",
        "multipart/form-data; boundary*0=a; boundary=b",
        "multipart/form-data; boundary=a; charset=utf-16",
        'multipart/form-data; boundary="a\\b"',
        'multipart/form-data; boundary="a',
        "multipart/form-data; boundary=a,b",
        "multipart/form-data; boundary=" + "a" * 201,
        "multipart/form-data boundary=a; =b",
    ],
)
def test_ambiguous_boundaries_are_refused(content_type: str) -> None:
    with pytest.raises(BadRequest, match="more than one way"):
        boundary_of(content_type)


def split(body: bytes, *cuts: int) -> tuple[FormSplitter, list[tuple[str | None, bytes]], bytes]:
    """The splitter, the names and contents of the parts, and all chunks joined."""
    splitter = FormSplitter(b"b")
    parts: list[tuple[str | None, bytes]] = []
    whole = content = b""
    edges = [0, *cuts, len(body)]
    chunks = [chunk for a, b in itertools.pairwise(edges) for chunk in splitter.feed(body[a:b])] + splitter.rest()
    for chunk in chunks:
        whole += chunk.data
        if chunk.part is not None:
            content += chunk.data
            if chunk.last:
                parts.append((chunk.part.name, content))
                content = b""
    return splitter, parts, whole


FORM = (
    b'preamble\r\n--b\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\ntwo\r\n'
    b"--b\r\n\r\nnameless\r\n"
    b'--b\r\nContent-Disposition: form-data; name="b"\r\n\r\n--b\r\n'
    b'Content-Disposition: form-data; name="c"\r\n\r\n\r\n'
    b"--b--\r\nepilogue"
)


def test_cuts_do_not_change_how_a_form_is_read() -> None:
    for cut in range(len(FORM) + 1):
        splitter, parts, whole = split(FORM, cut)
        assert parts == [("a", b"one\r\ntwo"), (None, b"nameless"), ("b", b""), ("c", b"")]
        assert whole == FORM
        assert splitter.complete
    assert split(FORM, *range(1, len(FORM)))[1] == parts


ODD = [b"\n--b\r\n", b" --b\r\n", b"\r\n--bx\r\n", b"\r\n--b \r\n", b"\r\n--b\n", b"--b"]
"""Boundaries to some servers, but not in RFC 2046."""


@pytest.mark.parametrize("odd", ODD)
def test_boundaries_that_end_no_part_are_content(odd: bytes) -> None:
    body = FORM.replace(b"one", b"one" + odd)
    for cut in range(len(body) + 1):
        _, parts, whole = split(body, cut)
        assert parts == [("a", b"one" + odd + b"\r\ntwo"), (None, b"nameless"), ("b", b""), ("c", b"")]
        assert whole == body


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("head", [b'Content-Disposition: form-data; name="model"', b"x: y\nNAME = model"])
@pytest.mark.parametrize("filler", [b"", b"x" * 3000])
def test_an_irregular_boundary_before_a_model_field_is_refused(odd: bytes, head: bytes, filler: bytes) -> None:
    body = FORM.replace(b"one", b"one" + odd + filler + head + b"\r\n\r\ndear")
    for cut in (*range(100), *range(len(body) - 300, len(body) + 1)):
        with pytest.raises(BadRequest, match="more than one way"):
            split(body, cut)


@pytest.mark.parametrize(
    "body",
    [
        FORM + b'\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--b--\r\n',
        FORM + b"\r\n--b--",
        b'x--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n\r\n--b--',
    ],
)
def test_content_after_the_closing_boundary_is_refused_at_every_cut(body: bytes) -> None:
    for cut in range(len(body) + 1):
        with pytest.raises(BadRequest, match="more than one way"):
            split(body, cut)


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(0, 400), max_size=5))
def test_contents_of_parts_come_out_unchanged(contents: list[bytes], cuts: list[int]) -> None:
    contents = [re.sub(rb"--b", b"-", content) for content in contents]
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n' + content + b"\r\n" for content in contents
    )
    body += b"--b--\r\n"
    splitter, parts, whole = split(body, *sorted(cut for cut in cuts if cut <= len(body)))
    assert parts == [("n", content) for content in contents]
    assert whole == body
    assert splitter.complete

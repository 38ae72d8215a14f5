"""Names chosen by clients, and the file names made of them."""

import os
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.records.writing.files import LineFiles
from openai_proxy.records.writing.names import file_name, slug

HOSTILE = [
    "../../etc/passwd", "..", ".", "", "-rf", ".hidden", "%2e%2e", "a\0b", "x" * 300, "\ud800", "CON", "a\nb",
    "ä" * 90, "a/b", "A", "a", "a_b", "\u2028", "\x1b[2J", "x" * 80, "x" * 81, "c-0123456789abcdef",
]  # fmt: skip


@given(st.one_of(st.sampled_from(HOSTILE), st.text(), st.characters(categories=["Cs"])))
def test_a_slug_is_safe_and_short(raw: str) -> None:
    safe = slug(raw)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", safe)
    assert len(safe.encode()) <= 80
    assert len(file_name(raw, raw)) < 200


def test_a_plain_name_stays() -> None:
    assert file_name("gpt-4o-mini", "session-7") == "gpt-4o-mini_session-7.jsonl"


def test_no_two_pairs_share_a_file_even_if_case_is_ignored() -> None:
    names = {file_name(m, c).lower() for m in HOSTILE for c in HOSTILE}
    assert len(names) == len(HOSTILE) ** 2
    assert file_name("a_b", "c") != file_name("a", "b_c")
    # A name cannot pretend to be the hashed form of another either.
    assert slug(slug("A")) != slug("A")


def test_nothing_lands_outside_the_directory(tmp_path: Path) -> None:
    files = LineFiles(tmp_path / "in" / "logs")
    for model in HOSTILE:
        for conversation in HOSTILE:
            assert files.append(file_name(model, conversation), b"{}\n")
    files.close()
    found = [Path(base) / name for base, _, names in os.walk(tmp_path) for name in names]
    assert len(found) == len(HOSTILE) ** 2
    assert {path.parent for path in found} == {tmp_path / "in" / "logs"}

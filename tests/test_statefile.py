"""State files are written whole or not at all, name their version, and are readable only for us."""

from pathlib import Path

import pytest

from openai_proxy import statefile


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    statefile.save(path, 2, {"a": [1]}, sync=True)
    assert statefile.load(path, 2) == {"a": [1]}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_another_version_is_not_read(tmp_path: Path) -> None:
    statefile.save(tmp_path / "state.json", 1, {"a": 1})
    assert statefile.load(tmp_path / "state.json", 2) == {}


def test_a_file_without_a_version(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b'{"k": 1}')
    assert statefile.load(path, 1) == {}
    assert statefile.load(path, 1, lambda document: {"items": document}) == {"items": {"k": 1}}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff"])
def test_a_damaged_file_is_reported_once_and_not_used(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    assert statefile.load(path, 1) == {}
    assert caplog.messages == ["the saved state in state.json cannot be read and is not used"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        statefile.save(tmp_path / "state.json", 1, {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]

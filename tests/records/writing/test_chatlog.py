"""Lines of many conversations are written together, each to its file, without secrets."""

from pathlib import Path

import pytest

from openai_proxy.records.writing.chatlog import SEARCHED_AT_ONCE, ChatLog
from openai_proxy.records.writing.scrub import Scrubber
from openai_proxy.secrets import MARK, Vault

SECRET = "sk-a-secret-of-the-owner"


@pytest.mark.parametrize("size", [10, SEARCHED_AT_ONCE])
@pytest.mark.parametrize("secrets", [0, 1, 3])
def test_secrets_are_removed_whatever_is_written_together(tmp_path: Path, size: int, secrets: int) -> None:
    vault = Vault()
    vault.learn([SECRET])
    log = ChatLog(tmp_path, Scrubber(vault))
    padding = "x" * size
    for number in range(3):
        said = SECRET if number < secrets else "nothing"
        log.add(("model", f"conversation-{number}"), [f'{{"said":"{said}"}}\n'.encode(), f'"{padding}"\n'.encode()])
    log.flush()
    log.close()
    found = {path.name: path.read_text() for path in tmp_path.glob("*.jsonl")}
    assert len(found) == 3
    for number in range(3):
        (text,) = (text for name, text in found.items() if f"conversation-{number}" in name)
        assert text == f'{{"said":"{MARK if number < secrets else "nothing"}"}}\n"{padding}"\n'

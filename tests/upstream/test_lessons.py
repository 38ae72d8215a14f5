"""The table of lessons: what is remembered, for how long, and where."""

import stat
from pathlib import Path

import orjson
import pytest

from openai_proxy.dialects.base import Lesson
from openai_proxy.upstream.lessons import MAX_AGE, MAX_MEMBERS, MAX_MODELS, LessonTable

LESSON = Lesson(refused=frozenset({"seed"}), renamed={"max_tokens": "max_completion_tokens"}, lengths={"user": 64},
                roles={"developer": "system"}, schema="gemini", api="responses", max_output_tokens=4096)  # fmt: skip


async def test_lessons_survive_the_process_in_a_private_file(tmp_path: Path):
    path = tmp_path / "lessons.json"
    table = LessonTable(path)
    known = table.of("main", "https://api.example/v1")
    assert known.learn("gpt", LESSON)
    known.learn_lack("/responses")
    await table.aclose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert orjson.loads(path.read_bytes())["version"] == 1
    again = LessonTable(path).of("main", "https://api.example/v1")
    lessons = again.of("gpt")
    assert (lessons.refused, lessons.renamed, lessons.lengths) == (LESSON.refused, LESSON.renamed, LESSON.lengths)
    assert (lessons.roles, lessons.schema, lessons.api) == (LESSON.roles, "gemini", "responses")
    assert lessons.max_output_tokens == 4096
    assert again.lacks("/responses")
    assert not again.lacks("/messages")


async def test_another_address_is_another_server(tmp_path: Path):
    path = tmp_path / "lessons.json"
    table = LessonTable(path)
    table.of("main", "http://one/v1").learn("m", LESSON)
    assert not table.of("main", "http://two/v1").of("m").refused
    table.of("main", "http://one/v1").learn("m", LESSON)
    await table.aclose()
    assert not LessonTable(path).of("main", "http://two/v1").of("m").refused


async def test_a_connection_removed_for_a_while_keeps_its_lessons(tmp_path: Path):
    path = tmp_path / "lessons.json"
    table = LessonTable(path)
    table.of("one").learn("m", LESSON)
    await table.aclose()
    other = LessonTable(path)
    other.of("two").learn("m", LESSON)
    await other.aclose()
    assert LessonTable(path).of("one").of("m").refused


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[]", b'{"version":9}', b'{"version":1,"main":5}',
     b'{"version":1,"main":{"base":"","models":{"m":{"x":1}},"lacking":{}}}'],
)  # fmt: skip
def test_an_unreadable_file_is_learnt_again(tmp_path: Path, broken: bytes):
    path = tmp_path / "lessons.json"
    path.write_bytes(broken)
    assert not LessonTable(path).of("main").of("m").refused


async def test_a_lesson_is_new_once_expires_and_can_be_forgotten():
    now = [0.0]
    table = LessonTable(clock=lambda: now[0])
    known = table.of("main")
    assert not known
    assert known.learn("m", Lesson(refused=frozenset({"a"})))
    assert not known.learn("m", Lesson(refused=frozenset({"a"})))
    assert known.learn("m", Lesson(refused=frozenset({"b"})))
    assert known.of("m").refused == {"a", "b"}
    now[0] = MAX_AGE + 1
    assert not known.of("m").refused
    known.learn("m", LESSON)
    known.learn("n", LESSON)
    table.forget("main", "m")
    assert (bool(known.of("m").refused), bool(known.of("n").refused)) == (False, True)
    table.forget("main")
    assert not known.of("n").refused
    table.forget("nobody")


def test_the_table_is_bounded():
    known = LessonTable().of("main")
    for number in range(MAX_MODELS + 5):
        known.learn(f"m{number}", LESSON)
    assert not known.of("m0").refused
    assert known.of(f"m{MAX_MODELS}").refused
    for number in range(MAX_MEMBERS + 5):
        known.learn("m", Lesson(refused=frozenset({f"x{number}"})))
    assert len(known.of("m").refused) == MAX_MEMBERS

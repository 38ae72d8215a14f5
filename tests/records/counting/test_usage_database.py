"""Rows of usage on disk."""

from pathlib import Path

import pytest

from openai_proxy.records.counting.usage_database import UsageDatabase


@pytest.mark.parametrize("number", [1, 62, 63, 400])
def test_any_number_of_rows_is_added_to_those_of_the_same_name(tmp_path: Path, number: int) -> None:
    database = UsageDatabase(tmp_path / "usage.sqlite3")
    for _ in range(2):
        database.add(
            [
                ("2026-11-01", "family", "", "m", "c", f"user {n:03}", "", "", 1, n, 2, 0, 0, 0.5, 0, 0)
                for n in range(number)
            ],
            [(f"key {n:03}", "question", "tokens") for n in range(number)],
        )
    database.add([])
    assert sorted(row[5:14] for row in database.rows(None)) == [
        (f"user {n:03}", "", "", 2, 2 * n, 4, 0, 0, 1.0) for n in range(number)
    ]
    assert [row[1:] for row in database.pending()] == [
        (f"key {n:03}", "question", "tokens") for n in [*range(number), *range(number)]
    ]

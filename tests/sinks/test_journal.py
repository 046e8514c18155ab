"""The journal of what was said since a snapshot."""

from __future__ import annotations

from pathlib import Path

import pytest

from sinks.errors import SinkError
from sinks.journal import Journal

NAME = "flow-shard-0000"


def _row(number: int) -> dict[str, object]:
    return {
        "anomaly_id": f"a{number}",
        "revision": number,
        "evidence": [{"key": "k", "value": "ü\n"}],
        "end_time": None,
    }


def test_what_was_said_since_the_snapshot_is_read_in_its_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "made", NAME)
    journal.write([_row(1)])
    page = journal.turn()
    journal.write([_row(3)])
    journal.write([_row(2)])
    journal.turn()
    journal.write([_row(4)])
    assert Journal(tmp_path / "made", NAME, page).rows == [_row(3), _row(2), _row(4)]
    assert Journal(tmp_path / "made", NAME).rows == [_row(n) for n in (1, 3, 2, 4)]


def test_a_second_kill_before_a_snapshot_loses_nothing(tmp_path: Path) -> None:
    first = Journal(tmp_path, NAME)
    page = first.turn()
    first.write([_row(1)])
    second = Journal(tmp_path, NAME, page)
    second.write([_row(2)])
    assert Journal(tmp_path, NAME, page).rows == [_row(1), _row(2)]
    assert Journal(tmp_path, NAME, second.turn()).rows == []


def test_journals_of_one_folder_are_apart(tmp_path: Path) -> None:
    Journal(tmp_path, NAME).write([_row(1)])
    assert Journal(tmp_path, "flow-shard-0001").rows == []


def test_old_pages_go(tmp_path: Path) -> None:
    journal = Journal(tmp_path, NAME)
    for number in range(50):
        journal.write([_row(number)])
        page = journal.turn()
    assert len(list(tmp_path.iterdir())) < 20
    assert Journal(tmp_path, NAME, page - 10).rows == [_row(n) for n in range(40, 50)]


def test_a_row_that_was_being_written_was_not_sent(tmp_path: Path) -> None:
    Journal(tmp_path, NAME).write([_row(1)])
    (page,) = tmp_path.iterdir()
    with page.open("a") as file:
        file.write('{"anomaly_id": "a2", "rev')
    assert Journal(tmp_path, NAME).rows == [_row(1)]


def test_damage_is_told_with_file_and_line(tmp_path: Path) -> None:
    Journal(tmp_path, NAME).write([_row(1)])
    (page,) = tmp_path.iterdir()
    page.write_text("{}\nnonsense\n")
    with pytest.raises(SinkError, match=rf"{page.name}:2: no line of a journal: 'nonsense'"):
        Journal(tmp_path, NAME)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="journal of what was said cannot be written"):
        Journal(tmp_path / "file" / "journals", NAME).write([_row(1)])

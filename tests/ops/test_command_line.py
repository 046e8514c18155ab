"""A wrong command line is one line that names what is wrong, and status 2."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ops.cli import app


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("replay line-loss", ["--input", "gridflow replay --help"]),
        ("replay", ["flows"]),
        ("replay line-loss -i x -o y --workers none", ["--workers", "none"]),
        ("replay line-loss -i x -o y --workers 0", ["--workers", "1", "got '0'"]),
        ("run nothing", ["nothing", "line-loss"]),
        ("run line-loss --recovry x", ["--recovry", "--recovery"]),
        ("topics create --partitions many", ["--partitions", "many", "gridflow topics create --help"]),
        ("topics crate", ["crate", "gridflow topics --help"]),
        ("topics list more", ["more"]),
        ("services up --only kafak", ["--only", "kafak"]),
        ("reply", ["reply", "replay"]),
        ("--verson", ["--verson"]),
        ("produce --input", ["--input"]),
        ("produce --input x --format xml", ["--format", "xml"]),
    ],
)
def test_it_is_named_in_one_line(command: str, named: list[str]) -> None:
    result = CliRunner().invoke(app, command.split(), prog_name="gridflow")
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for word in named:
        assert word in line


@pytest.mark.parametrize("command", ["", "topics", "--help", "replay --help"])
def test_help_is_help(command: str) -> None:
    result = CliRunner().invoke(app, command.split(), prog_name="gridflow")
    assert result.exit_code == (0 if "--help" in command else 2)
    assert "Usage: gridflow" in result.output
    assert "error:" not in result.output

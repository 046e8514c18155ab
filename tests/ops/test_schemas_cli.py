"""``gridflow schemas`` on a real registry and on a folder of earlier files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from ops.schemas_cli import app
from ops.services import Services
from schemas import contract

METER = contract("grid.meter.v1")


def run(*arguments: str, registry: str = "") -> Result:
    return CliRunner().invoke(app, [*arguments], env={"GRIDFLOW_REGISTRY__URL": registry, "COLUMNS": "200"})


def _earlier(folder: Path, **attributes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "old.avsc").write_text(json.dumps(dict(METER.avro) | attributes), encoding="utf-8")
    return folder


def test_register_then_check_on_a_real_registry(services: Services) -> None:
    registered = run("register", registry=services.registry_url)
    assert registered.exit_code == 0, registered.output
    subjects = httpx.get(f"{services.registry_url}/subjects", trust_env=False).json()
    assert {"grid.meter.v1-value", "grid.line-loss.v1-value"} <= set(subjects)
    assert "grid.dead-letter.v1-value" not in subjects
    assert run("register", registry=services.registry_url).stdout == registered.stdout
    checked = run("check", "grid.meter.v1", registry=services.registry_url)
    assert checked.exit_code == 0, checked.output
    assert "1 contracts read 1 earlier versions" in checked.stdout


def test_check_against_a_folder(tmp_path: Path) -> None:
    folder = _earlier(tmp_path / "old", fields=METER.avro["fields"][:-1])
    result = run("check", "--against", str(folder))
    assert result.exit_code == 0, result.output
    assert "read 1 earlier versions" in result.stdout


@pytest.mark.parametrize("named", [True, False])
def test_an_incompatible_contract_is_one_line_and_status_2(tmp_path: Path, named: bool) -> None:
    fields = [field | {"type": "string"} if field["name"] == "import_kwh" else field for field in METER.avro["fields"]]
    own = METER.avro["gridflow"] if named else {}
    folder = _earlier(tmp_path / "old", fields=fields, gridflow=own)
    result = run("check", "--against", str(folder))
    assert result.exit_code == 2
    assert result.stdout == ""
    line = result.stderr.strip()
    assert "\n" not in line
    assert line.startswith(f"error: grid.meter.v1: cannot read what {folder / 'old.avsc'} wrote: import_kwh: string")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["register"], "registry.url is empty"),
        (["check"], "registry.url is empty"),
        (["register", "grid.metre.v1"], "no contract for 'grid.metre.v1'"),
    ],
)
def test_wrong_input_is_status_2(arguments: list[str], said: str) -> None:
    result = run(*arguments, registry="http://127.0.0.1:9" if "metre" in arguments[-1] else "")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_file_that_is_no_schema_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.avsc").write_text("{", encoding="utf-8")
    result = run("check", "--against", str(tmp_path))
    assert result.exit_code == 2
    assert "x.avsc: not an Avro record" in result.stderr

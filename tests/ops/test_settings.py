"""Settings: where they come from, what wins, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli import app
from ops.settings import Settings, SettingsError, explain, load_settings


def written(folder: Path, text: str) -> Path:
    path = folder / "gridflow.toml"
    path.write_text(text)
    return path


def test_the_environment_wins_over_the_file_and_a_call_over_both(tmp_path: Path) -> None:
    file = written(tmp_path, '[kafka]\ngroup_id = "file"\ntopic_prefix = "p."\n[kafka.config]\n"client.id" = "c"\n')
    environ = {"GRIDFLOW_KAFKA__GROUP_ID": "variable", "GRIDFLOW_EVENT_TIME__WINDOW_SECONDS": "300", "OTHER": "x"}
    settings = load_settings(file, environ=environ, overrides={"parquet": {"output": tmp_path}})
    assert (settings.kafka.group_id, settings.kafka.topic_prefix) == ("variable", "p.")
    assert settings.kafka.config == {"client.id": "c"}
    assert settings.event_time.window_seconds == 300
    assert settings.parquet.output == tmp_path
    assert settings.parquet.rows_per_file == 500_000
    named = load_settings(environ={"GRIDFLOW_CONFIG": str(file)})
    assert named.kafka.group_id == "file"


def test_lists_and_tables_in_variables() -> None:
    settings = load_settings(
        environ={
            "GRIDFLOW_OUTPUT__LINE_LOSS": "kafka, parquet",
            "GRIDFLOW_OUTPUT__METER_ENERGY": "",
            "GRIDFLOW_ALIGNMENT__REGISTER_DIGITS": "[4, 5]",
            "GRIDFLOW_KAFKA__CONFIG": '{"security.protocol" = "SSL", "socket.timeout.ms" = 5}',
        }
    )
    assert settings.output.line_loss == ("kafka", "parquet")
    assert settings.output.meter_energy == ()
    assert settings.alignment.register_digits == (4, 5)
    assert settings.kafka.config == {"security.protocol": "SSL", "socket.timeout.ms": 5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[kafka]\ngrup_id = 1\n", "kafka.grup_id: there is no such setting"),
        ("[kafak]\n", "kafak: there is no such setting"),
        ("[event_time]\nwindow_seconds = 700\n", "event_time: .*window_seconds 700 divides neither"),
        ("[kafka]\nstart = 'yesterday'\n", "kafka.start: .*earliest, latest, committed.*'yesterday'"),
        ("[kafka.config]\n'sasl.password' = 'hunter2'\n", "sasl.password is a secret"),
        (
            "[influxdb]\ntoken = 'hunter2'\n",
            "influxdb.token must not be written into the file.*GRIDFLOW_INFLUXDB__TOKEN",
        ),
        ("[registry]\nurl = 'http://me:hunter2@registry:8081'\n", "registry.url: .*neither user, password nor query"),
        ("[influxdb]\nurl = 'http://influx:8086?token=hunter2'\n", "influxdb.url: .*neither user, password nor query"),
        ("[kafka\n", "not TOML"),
        ("[ied_supervision.rules]\nkind = 'BEH'\n", r"rules: is a list of tables: write \[\[ied_supervision.rules\]\]"),
        ("[[ied_supervision.rules]]\nkind = 'BEH'\n", "rules.0: changes nothing: give mute, severity"),
        ("[[ied_supervision.rules]]\nied = ''\nmute = true\n", "rules.0.ied: .*at least 1 character"),
        ("[[ied_supervision.rules]]\nlimit = 1e300\n", "rules.0.limit: .*less than or equal to 1"),
        ("[[ied_supervision.expected]]\nied = 'S01-*'\n", "expected.0: expects nothing: give conf_rev, num_entries"),
        ("[[ied_supervision.expected]]\ninterval_seconds = 1e300\n", "interval_seconds: .*less than .*1e\\+300"),
        ("[[ied_supervision.expected]]\nconf_rev = 100000000000000000000\n", "conf_rev: .*less than .* 4294967295"),
        ("[[ied_supervision.expected]]\napp_id = 70000\n", "app_id: .*less than or equal to 65535"),
        ("[ied_supervision]\nwatermark_delay_seconds = 1e300\n", "watermark_delay_seconds: .*less than"),
    ],
)
def test_a_wrong_file_is_told_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(written(tmp_path, text), environ={})
    assert "gridflow.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GRIDFLOW_KAFKA__BATCH_MESSAGES", "many", "kafka.batch_messages: .*'many'"),
        ("GRIDFLOW_KAFKA__GRUP", "x", "kafka.grup: there is no such setting"),
        ("GRIDFLOW_KAFAK__GROUP_ID", "x", "there is no setting 'kafak'"),
        ("GRIDFLOW_KAFKA__CONFIG", "{broken", "kafka.config: neither JSON nor a TOML value"),
        ("GRIDFLOW_OUTPUT__LINE_LOSS", "kafka,postgres", "output.line_loss.*'postgres'"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(environ={name: value})
    assert f"environment variable {name}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRIDFLOW_KAFKA__CONFIG", '{"sasl.password": "hunter2"}'),
        ("GRIDFLOW_KAFKA__CONFIG", '{"sasl.oauthbearer.client.secret" = "hunter2"}'),
        ("GRIDFLOW_KAFKA__CONFIG", '{"ssl.key.pem": "hunter2"'),
        ("GRIDFLOW_KAFKA__SASL_PASWORD", "hunter2"),
        ("GRIDFLOW_INFLUXDB__TOKNE", "hunter2"),
    ],
)
def test_a_misplaced_secret_is_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={name: value})
    assert "hunter2" not in str(caught.value)


def test_secrets_are_masked_and_never_in_an_error(tmp_path: Path) -> None:
    settings = load_settings(environ={"GRIDFLOW_INFLUXDB__TOKEN": "hunter2"})
    assert settings.influxdb.secret() == "hunter2"
    assert "hunter2" not in repr(settings) + settings.model_dump_json() + str(list(explain(settings)))
    file = tmp_path / "token"
    file.write_text("hunter3\n")
    settings = load_settings(environ={"GRIDFLOW_INFLUXDB__TOKEN_FILE": str(file)})
    assert settings.influxdb.secret() == "hunter3"
    gone = load_settings(environ={"GRIDFLOW_INFLUXDB__TOKEN_FILE": str(tmp_path / "gone")})
    with pytest.raises(SettingsError, match="gone"):
        gone.influxdb.secret()
    table = written(tmp_path, "[registry]\nurl = ['hunter4']\n[registry.password_file]\na = 'hunter5'\n")
    with pytest.raises(SettingsError, match=r"registry\.url") as caught:
        load_settings(table, environ={})
    assert "hunter" not in str(caught.value)


def test_every_setting_is_explained() -> None:
    rows = list(explain(Settings()))
    assert len(rows) > 50
    assert [key for key, _, _, meaning in rows if not meaning] == []
    shown = CliRunner().invoke(app, ["check-config", "--explain"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "kafka.on_lost_offset" in shown.stdout
    assert "[[ied_supervision.rules]]" in shown.stdout  # and not taken for markup


def test_a_wrong_setting_is_one_line_and_status_2() -> None:
    result = CliRunner().invoke(app, ["check-config"], env={"GRIDFLOW_RUNTIME__WORKERS": "0"})
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "GRIDFLOW_RUNTIME__WORKERS" in result.stderr

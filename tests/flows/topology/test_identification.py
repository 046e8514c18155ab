"""Meters of a street whose truth is known are found, whatever its record says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flows.topology.identification import Findings, identify, orders
from flows.topology.signals import Signals
from tests.flows.topology.street import CUSTOMERS, Street, street


def _phases(findings: Findings, scene: Street) -> list[tuple[int, ...]]:
    return [orders(n)[order] for n, order in zip(scene.terminals.tolist(), findings.order.tolist(), strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_a_right_record_is_confirmed_and_terminals_are_told_apart(seed: int) -> None:
    scene = street(seed, windows=96)
    findings = identify(scene.signals, scene.heads, scene.record())
    assert findings.transformer.tolist() == scene.transformer.tolist()
    assert _phases(findings, scene) == scene.phases
    assert (findings.margin > 0).all()
    assert np.median(findings.misfit) == pytest.approx(1, abs=0.6)


@pytest.mark.parametrize("seed", range(5))
def test_wrong_records_are_contradicted_and_put_right(seed: int) -> None:
    scene = street(seed, windows=96)
    record = scene.record()
    single = np.flatnonzero(scene.terminals == 1)
    wrong_phase, wrong_place = single[[3, 30]], np.array([5, 60, 100])
    record.phase[wrong_phase] = (record.phase[wrong_phase] + 1) % 3
    record.transformer[wrong_place] = (record.transformer[wrong_place] + 1) % 3
    findings = identify(scene.signals, scene.heads, record)
    assert sorted(np.flatnonzero(findings.margin < 0)) == sorted({*wrong_phase, *wrong_place})
    assert findings.transformer.tolist() == scene.transformer.tolist()
    assert _phases(findings, scene) == scene.phases
    assert (findings.confidence[[*wrong_phase, *wrong_place]] > 0.99).all()


def test_those_who_were_moved_together_do_not_vouch_for_one_another() -> None:
    scene = street(11, windows=96)
    record = scene.record()
    moved = np.arange(CUSTOMERS - 4, CUSTOMERS)  # the end of a feeder
    record.transformer[moved] = 1
    findings = identify(scene.signals, scene.heads, record)
    assert np.flatnonzero(findings.margin < 0).tolist() == moved.tolist()
    assert findings.transformer.tolist() == scene.transformer.tolist()


def test_without_head_meters_and_with_gaps() -> None:
    scene = street(12, windows=96)
    voltages = scene.voltages.copy()
    voltages[np.random.default_rng(1).random(voltages.shape) < 0.1] = np.nan
    scene = replace(scene, voltages=voltages, heads=np.full_like(scene.heads, np.nan))
    findings = identify(scene.signals, scene.heads, scene.record())
    assert findings.transformer.tolist() == scene.transformer.tolist()
    assert _phases(findings, scene) == scene.phases


def test_of_a_meter_without_voltages_nothing_is_said() -> None:
    scene = street(13)
    voltages = scene.voltages.copy()
    voltages[:, 4] = np.nan
    voltages[:30, 9] = 0.0  # without supply most of the time
    findings = identify(replace(scene, voltages=voltages).signals, scene.heads, scene.record())
    for meter in (4, 9):
        assert findings.transformer[meter] == -1
        assert findings.confidence[meter] == 0
        assert np.isnan(findings.margin[meter])


def test_only_the_neighbourhood_is_asked() -> None:
    scene = street(14, windows=96)
    record = replace(scene.record(), candidates=[np.array([0, 1]), np.array([0, 1]), np.array([2])])
    record.transformer[:3] = 2
    findings = identify(scene.signals, scene.heads, record)
    assert set(findings.transformer[record.transformer == 2].tolist()) == {2}


@pytest.mark.parametrize("seed", [12, 13, 14, 15])
def test_where_phases_are_not_told_apart_the_transformer_mostly_still_is(seed: int) -> None:
    scene = street(seed, windows=96)
    one = (scene.terminals == 3) | (np.array([p[0] for p in scene.phases]) == 0)
    first = Signals.of(scene.voltages[:, one], scene.powers[:, one], np.ones(int(one.sum()), np.int64))
    record = scene.record()
    record = replace(record, transformer=record.transformer[one], phase=np.full(int(one.sum()), -1))
    record = replace(record, phased=np.zeros(3, bool))
    findings = identify(first, scene.heads, record)
    assert np.mean(findings.transformer == scene.transformer[one]) > 0.97


def test_order_of_meters_changes_nothing() -> None:
    scene = street(16)
    turned = np.random.default_rng(2).permutation(len(scene.phases))
    shuffled = replace(
        scene,
        transformer=scene.transformer[turned],
        phases=[scene.phases[k] for k in turned],
        voltages=scene.voltages[:, turned],
        powers=scene.powers[:, turned],
    )
    one = identify(scene.signals, scene.heads, scene.record())
    other = identify(shuffled.signals, shuffled.heads, shuffled.record())
    assert other.transformer.tolist() == one.transformer[turned].tolist()
    assert other.margin == pytest.approx(one.margin[turned], rel=1e-6)

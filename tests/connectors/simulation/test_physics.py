"""The simulated state obeys Kirchhoff, whatever is switched, and does not depend on how time is cut."""

from __future__ import annotations

import numpy as np
import pytest
from power_grid_model import CalculationMethod, ComponentType, DatasetType, initialize_array

from connectors.errors import InputError
from connectors.simulation.chance import Chance
from connectors.simulation.grid.city import City
from connectors.simulation.physics.power_flow import TOLERANCE
from connectors.simulation.physics.state import Block, Physics
from tests.connectors.simulation.grids import options, physics_of

KWH = 1e-6  # what a balance may be off


@pytest.fixture(scope="module")
def troubled() -> tuple[Physics, list[Block]]:
    physics = physics_of(options("trouble", meters=500, moved_rate=0.02, rephased_rate=0.02, faults_per_day=2))
    return physics, list(physics.blocks(8))


def test_who_takes_more_than_a_fuse_carries_has_three_phases() -> None:
    for seed in range(40):
        chosen = options(meters=600, seed=seed)
        customers = next(City(chosen, Chance(seed)).build()).customers
        assert customers.single.any()
        assert customers.annual_kwh[customers.single].max() <= 20_000


def test_a_line_that_is_to_carry_more_than_it_can_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    physics = physics_of(options(meters=100, seed=3))
    monkeypatch.setattr(physics.grid.customers, "annual_kwh", physics.grid.customers.annual_kwh * 100)
    with pytest.raises(InputError, match=r"--seed: in substation 1 a line .* at 20\d\d-.*\(got 3\); another seed"):
        list(physics.blocks(8))


def test_every_area_balances(troubled: tuple[Physics, list[Block]]) -> None:
    physics, blocks = troubled
    assert physics.plan.relocations
    area_of_line = np.array([line.area for line in physics.grid.lines])
    for block in blocks:
        hours = block.hours
        for area in range(len(physics.grid.stations)):
            customers = np.where(block.area == area, block.power, 0.0).sum(axis=1)
            lost = block.line_loss[:, area_of_line == area].sum(axis=1)
            assert np.abs((block.stations[:, area] - customers - lost) * hours / 1000).max() < KWH


def test_the_substation_balances(troubled: tuple[Physics, list[Block]]) -> None:
    _, blocks = troubled
    for block in blocks:
        lost = block.line_loss.sum(axis=1) + block.station_loss.sum(axis=1) + block.main_loss.sum(axis=1)
        off = block.mains.sum(axis=1) - block.power.sum(axis=1) - lost
        assert np.abs(off * block.hours / 1000).max() < KWH


def test_every_feeder_balances_while_no_loop_is_closed(troubled: tuple[Physics, list[Block]]) -> None:
    physics, blocks = troubled
    grid = physics.grid
    area_of_line = np.array([line.area for line in grid.lines])
    mv = np.flatnonzero(area_of_line < 0)
    checked = switched = 0
    for block in blocks:
        for span, state in enumerate(block.states):
            if _looped(physics, state.closed):
                continue
            for number, feeder in enumerate(grid.feeders):
                mine = np.flatnonzero(state.fed_by == number)
                customers = block.power[span, np.isin(block.area[span], mine)].sum()
                lost = block.line_loss[span, np.isin(area_of_line, mine) & (area_of_line >= 0)].sum()
                lost += block.line_loss[span, mv[state.line_fed_by == number]].sum()
                lost += block.station_loss[span, mine].sum()
                off = block.mv_power[span, feeder.head, 0].sum() - customers - lost
                assert abs(off) * block.hours[span] / 1000 < KWH
                checked += 1
                switched += set(mine.tolist()) != set(feeder.stations)
    assert checked > 100
    assert switched  # feeders that supply others than normally were among them


def _looped(physics: Physics, closed: np.ndarray) -> bool:
    """More connected lines than a forest of the energised nodes has."""
    grid = physics.grid
    lines = [i for i, line in enumerate(grid.lines) if line.feeder >= 0 and closed[i].all()]
    parent = {node: node for node in range(len(grid.node_names))}

    def root(node: int) -> int:
        while parent[node] != node:
            node = parent[node]
        return node

    # Both busbars are one point: they are joined through the mains.
    parent[grid.busbars[1]] = grid.busbars[0]
    for index in lines:
        a, b = (root(node) for node in grid.lines[index].ends)
        if a == b:
            return True
        parent[a] = b
    return False


def test_voltages_satisfy_the_network_equations() -> None:
    """Kirchhoff's current law at every LV node, with admittances worked out here from the cables' own data."""
    physics = physics_of(options(meters=120, days=0.25))
    grid, flow = physics.grid, physics.flow
    nodes = np.unique(grid.customer_node)
    rng = np.random.default_rng(5)
    power = rng.uniform(-500, 3000, (1, len(nodes), 3))
    reactive = rng.uniform(0, 400, (1, len(nodes), 3))
    mine = flow.solve(power, reactive, np.array([1.02]))
    update = initialize_array(DatasetType.update, ComponentType.asym_load, len(nodes))
    update["id"], update["p_specified"], update["q_specified"] = flow._load_ids, power[0], reactive[0]
    source = initialize_array(DatasetType.update, ComponentType.source, 1)
    source["id"], source["u_ref"] = flow._source_id, 1.02
    flow.model.update(update_data={ComponentType.asym_load: update, ComponentType.source: source})
    result = flow.model.calculate_power_flow(
        symmetric=False, calculation_method=CalculationMethod.newton_raphson, error_tolerance=1e-10
    )[ComponentType.node]
    # Another method of solution gives the same voltages.
    assert np.abs(result["u"] / mine.volts[0] - 1).max() < 1e-9
    volts = result["u"] * np.exp(1j * result["u_angle"])
    a = np.exp(2j * np.pi / 3)
    fortescue = np.array([[1, 1, 1], [1, a**2, a], [1, a, a**2]])
    drawn = np.zeros((len(grid.node_names), 3), complex)
    for line in grid.lines:
        if line.area < 0 or not all(line.closed):
            continue
        z1 = complex(line.cable.r_ohm, line.cable.x_ohm) * line.km
        z0 = complex(line.cable.r0_ohm, line.cable.x0_ohm) * line.km
        impedance = fortescue @ np.diag([z0, z1, z1]) @ np.linalg.inv(fortescue)
        current = np.linalg.solve(impedance, volts[line.ends[0]] - volts[line.ends[1]])
        drawn[line.ends[0]] -= current
        drawn[line.ends[1]] += current
    low = [n for n in range(len(grid.node_names)) if grid.node_volts[n] == 400.0]
    low = [n for n in low if n not in {station.lv_node for station in grid.stations}]
    wanted = np.zeros((len(grid.node_names), 3), complex)
    wanted[nodes] = power[0] + 1j * reactive[0]
    taken = volts * np.conj(drawn)
    assert np.abs(taken[low] - wanted[low]).max() < 0.01  # W: 1e-12 of the voltages, over 10 mΩ
    assert TOLERANCE <= 1e-12


def test_voltages_are_those_of_a_healthy_grid(troubled: tuple[Physics, list[Block]]) -> None:
    _, blocks = troubled
    volts = np.concatenate([block.volts[block.volts > 0] for block in blocks])
    assert volts.min() > 207.0  # EN 50160: 230 V +-10 %
    assert volts.max() < 253.0


def test_a_fault_leaves_dark_and_the_open_point_supplies_again(troubled: tuple[Physics, list[Block]]) -> None:
    physics, blocks = troubled
    faults = physics.plan.faults
    assert faults
    stations = physics.grid.feeders[faults[0].feeder].stations
    dark = np.concatenate([block.lv_volts[:, stations, 0] == 0 for block in blocks])
    begin = np.concatenate([block.bounds[:-1] for block in blocks])
    during = (begin > faults[0].time) & (begin < faults[0].repaired)
    assert dark[during].any()
    assert dark[during].all(axis=0).sum() == 0  # nobody all the time
    # Nobody takes anything where there is no voltage.
    for block in blocks:
        assert not block.power[block.volts[:, :, 0] == 0].any()


def test_the_cut_into_blocks_changes_nothing() -> None:
    chosen = options("trouble", meters=200, days=0.5, faults_per_day=4, moved_rate=0.02)
    one, other = list(physics_of(chosen).blocks(3)), list(physics_of(chosen).blocks(16))
    for name in ("power", "volts", "stations", "mains", "line_loss", "taps"):
        a, b = (np.concatenate([getattr(block, name) for block in blocks]) for blocks in (one, other))
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-6)
    assert one[-1].bounds[-1] == other[-1].bounds[-1]


def test_a_fault_current_is_that_of_its_impedances() -> None:
    """IEC 60909-0: c·U / (√3·Z), with the source, the main transformer and the cable in series."""
    physics = physics_of(options("clean", meters=30))
    grid = physics.grid
    feeder = grid.feeders[0]
    line, kind = grid.lines[feeder.head], grid.mains[0][1]
    volts, rated = 20_000.0, kind.rated_kva * 1000
    source = volts**2 / 3e9 * complex(0.1, 1) / abs(complex(0.1, 1))
    resistance = kind.load_kw * 1000 / rated * volts**2 / rated
    transformer = complex(resistance, np.sqrt((kind.uk * volts**2 / rated) ** 2 - resistance**2))
    cable = complex(line.cable.r_ohm, line.cable.x_ohm) * line.km
    expected = 1.1 * volts / np.sqrt(3) / abs(source + transformer + cable)
    station = grid.stations[feeder.stations[0]]
    assert physics.flow.fault_current(station.mv_node) == pytest.approx(expected, rel=0.03)

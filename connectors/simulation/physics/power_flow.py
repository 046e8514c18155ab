"""Power flow of a substation's grid: three phases, unbalanced, many intervals at once.

The calculation is power-grid-model's (LF Energy; Xiang et al., CIRED 2023), iterative current method; each interval
is a scenario of a batch. Loads take constant power within an interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from power_grid_model import (
    CalculationMethod,
    ComponentType,
    DatasetType,
    FaultPhase,
    FaultType,
    LoadGenType,
    PowerGridModel,
    ShortCircuitVoltageScaling,
    WindingType,
    initialize_array,
)

from connectors.simulation.grid.catalogue import FREQUENCY_HZ, HV_VOLTS, LV_VOLTS, MV_VOLTS, TAP_RANGE, TAP_STEP
from connectors.simulation.grid.customers import Bools, Floats, Ints
from connectors.simulation.grid.layout import Substation

TOLERANCE = 1e-12  # of the voltages, per unit
_SHORT_CIRCUIT_VA = 3e9


class NoSolutionError(ArithmeticError):
    """More is taken than lines can carry.

    Attributes:
        interval: the first one of the batch without a solution.
    """

    def __init__(self, interval: int) -> None:
        super().__init__(f"the power flow of interval {interval} has no solution")
        self.interval = interval


@dataclass(frozen=True)
class Flows:
    """What a batch of intervals gives; m intervals, SI units, powers into the component.

    Attributes:
        volts: (m, nodes, 3) phase to neutral.
        line_in: (m, lines) active power into a line at both ends together: its loss.
        mv_power: (m, MV lines, 2, 3) active power into an MV line at its two ends.
        mv_reactive: (m, MV lines, 2, 3).
        transformer_power: (m, transformers, 2, 3) active power into a transformer at its two sides.
        transformer_reactive: (m, transformers, 2, 3).
        source: (m, 3) active power that the HV grid delivers.
    """

    volts: Floats
    line_in: Floats
    mv_power: Floats
    mv_reactive: Floats
    transformer_power: Floats
    transformer_reactive: Floats
    source: Floats


class PowerFlow:
    """A grid's model, with a state of its switches and taps.

    Nodes and lines have their index in the grid as their place; transformers are in the order: the two mains, then that
    of each station.

    Attributes:
        model: the model, for whoever wants more of its results.

    Args:
        grid: the substation.
        load_nodes: nodes that have a load, ascending.
    """

    def __init__(self, grid: Substation, load_nodes: Ints) -> None:
        self._grid = grid
        self._nodes = len(grid.node_names)
        self._mv_lines = sum(line.feeder >= 0 for line in grid.lines)
        self._line_ids = self._nodes + np.arange(len(grid.lines))
        self._transformer_ids = self._line_ids[-1] + 1 + np.arange(2 + len(grid.stations))
        self._load_ids = self._transformer_ids[-1] + 1 + np.arange(len(load_nodes))
        self._source_id = int(self._load_ids[-1]) + 1
        self._input: dict[Any, Any] = {
            ComponentType.node: self._node_input(),
            ComponentType.line: self._line_input(),
            ComponentType.transformer: self._transformer_input(),
            ComponentType.asym_load: self._load_input(load_nodes),
            ComponentType.source: self._source_input(),
        }
        self.model = PowerGridModel(self._input, system_frequency=FREQUENCY_HZ)

    def set_lines(self, closed: Bools) -> None:
        """Connect lines.

        Args:
            closed: (lines, 2), at each end.
        """
        update = initialize_array(DatasetType.update, ComponentType.line, len(self._line_ids))
        update["id"] = self._line_ids
        update["from_status"], update["to_status"] = closed[:, 0], closed[:, 1]
        self.model.update(update_data={ComponentType.line: update})

    def set_taps(self, positions: Ints) -> None:
        """Move the mains' tap changers.

        Args:
            positions: of the two, -9 .. 9.
        """
        update = initialize_array(DatasetType.update, ComponentType.transformer, 2)
        update["id"] = self._transformer_ids[:2]
        update["tap_pos"] = positions
        self.model.update(update_data={ComponentType.transformer: update})

    def solve(self, power: Floats, reactive: Floats, source_pu: Floats) -> Flows:
        """Voltages and flows of m intervals.

        Args:
            power: (m, loads, 3) W taken.
            reactive: (m, loads, 3) var taken.
            source_pu: (m,) voltage of the HV grid, per unit.

        Raises:
            NoSolutionError: lines are to carry more than they can.
        """
        m = len(power)
        loads = initialize_array(DatasetType.update, ComponentType.asym_load, (m, len(self._load_ids)))
        loads["id"] = self._load_ids
        loads["p_specified"], loads["q_specified"] = power, reactive
        sources = initialize_array(DatasetType.update, ComponentType.source, (m, 1))
        sources["id"] = self._source_id
        sources["u_ref"] = source_pu[:, None]
        try:
            result = self._calculated({ComponentType.asym_load: loads, ComponentType.source: sources})
        except RuntimeError as error:
            # Of a batch; the package does not export the error's type to type checkers.
            failed = getattr(error, "failed_scenarios", None)
            if failed is None:
                raise
            raise NoSolutionError(int(min(failed))) from error
        line, transformer = result[ComponentType.line], result[ComponentType.transformer]
        mv = self._mv_lines
        return Flows(
            volts=result[ComponentType.node]["u"],
            line_in=(line["p_from"] + line["p_to"]).sum(axis=2),
            mv_power=np.stack([line["p_from"][:, :mv], line["p_to"][:, :mv]], axis=2),
            mv_reactive=np.stack([line["q_from"][:, :mv], line["q_to"][:, :mv]], axis=2),
            transformer_power=np.stack([transformer["p_from"], transformer["p_to"]], axis=2),
            transformer_reactive=np.stack([transformer["q_from"], transformer["q_to"]], axis=2),
            source=result[ComponentType.source]["p"][:, 0],
        )

    def _calculated(self, update: dict[Any, Any]) -> Any:
        return self.model.calculate_power_flow(
            symmetric=False,
            update_data=update,
            calculation_method=CalculationMethod.iterative_current,
            error_tolerance=TOLERANCE,
            max_iterations=200,
            threading=0,
            output_component_types={
                ComponentType.node: ["u"],
                ComponentType.line: ["p_from", "p_to", "q_from", "q_to"],
                ComponentType.transformer: ["p_from", "p_to", "q_from", "q_to"],
                ComponentType.source: ["p"],
            },
        )

    def fault_current(self, node: int) -> float:
        """Current of a three-phase short circuit at a node, A (IEC 60909, as power-grid-model has it)."""
        fault = initialize_array(DatasetType.input, ComponentType.fault, 1)
        fault["id"], fault["status"] = self._source_id + 1, 1
        fault["fault_object"], fault["fault_type"] = node, FaultType.three_phase
        fault["fault_phase"], fault["r_f"], fault["x_f"] = FaultPhase.abc, 0.0, 0.0
        model = PowerGridModel({**self._input, ComponentType.fault: fault}, system_frequency=FREQUENCY_HZ)
        result = model.calculate_short_circuit(
            calculation_method=CalculationMethod.iec60909,
            output_component_types={ComponentType.fault: ["i_f"]},
            short_circuit_voltage_scaling=ShortCircuitVoltageScaling.maximum,
        )
        return float(np.max(result[ComponentType.fault]["i_f"]))

    def _node_input(self) -> Any:
        node = initialize_array(DatasetType.input, ComponentType.node, self._nodes)
        node["id"], node["u_rated"] = np.arange(self._nodes), self._grid.node_volts
        return node

    def _line_input(self) -> Any:
        grid = self._grid
        line = initialize_array(DatasetType.input, ComponentType.line, len(grid.lines))
        line["id"] = self._line_ids
        line["from_node"], line["to_node"] = np.array([item.ends for item in grid.lines]).T
        line["from_status"], line["to_status"] = np.array([item.closed for item in grid.lines]).T
        for name, values in grid.line_columns().items():
            line[name] = values
        line["tan1"] = line["tan0"] = 0.0
        line["i_n"] = [item.cable.rated_a for item in grid.lines]
        return line

    def _transformer_input(self) -> Any:
        grid = self._grid
        kinds = [kind for _, kind in grid.mains] + [station.kind for station in grid.stations]
        transformer = initialize_array(DatasetType.input, ComponentType.transformer, len(kinds))
        main = np.arange(len(kinds)) < 2
        transformer["id"] = self._transformer_ids
        transformer["from_node"] = [grid.hv_node] * 2 + [station.mv_node for station in grid.stations]
        transformer["to_node"] = grid.busbars + [station.lv_node for station in grid.stations]
        transformer["from_status"] = transformer["to_status"] = 1
        transformer["u1"], transformer["u2"] = np.where(main, HV_VOLTS, MV_VOLTS), np.where(main, MV_VOLTS, LV_VOLTS)
        transformer["sn"] = [kind.rated_kva * 1000 for kind in kinds]
        transformer["uk"], transformer["i0"] = [kind.uk for kind in kinds], [kind.i0 for kind in kinds]
        transformer["pk"] = [kind.load_kw * 1000 for kind in kinds]
        transformer["p0"] = [kind.no_load_kw * 1000 for kind in kinds]
        # Dyn11 and Dyn5: the MV star point is earthed, the LV star point is the neutral's origin.
        transformer["winding_from"], transformer["winding_to"] = WindingType.delta, WindingType.wye_n
        transformer["clock"] = np.where(main, 11, 5)
        transformer["tap_side"], transformer["tap_pos"], transformer["tap_nom"] = 0, 0, 0
        transformer["tap_min"], transformer["tap_max"] = np.where(main, -TAP_RANGE, 0), np.where(main, TAP_RANGE, 0)
        transformer["tap_size"] = np.where(main, TAP_STEP * HV_VOLTS, 0.0)
        return transformer

    def _load_input(self, nodes: Ints) -> Any:
        load = initialize_array(DatasetType.input, ComponentType.asym_load, len(nodes))
        load["id"], load["node"], load["status"] = self._load_ids, nodes, 1
        load["type"] = LoadGenType.const_power
        load["p_specified"] = load["q_specified"] = 0.0
        return load

    def _source_input(self) -> Any:
        source = initialize_array(DatasetType.input, ComponentType.source, 1)
        source["id"], source["node"], source["status"] = self._source_id, self._grid.hv_node, 1
        source["u_ref"], source["sk"] = 1.0, _SHORT_CIRCUIT_VA
        return source

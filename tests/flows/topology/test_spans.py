"""What is cut out of the readings and made ready to be compared, against the same done meter by meter."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flows.topology.cutting import cut, increments
from flows.topology.signals import Signals

_VALUES = st.sampled_from([math.nan, 0.0, 1.0, 2.5, 7.0])
_VOLTS = st.sampled_from([math.nan, 50.0, 100.0, 229.5, 230.0, 231.25, 320.0, 400.0])


@settings(deadline=None)
@given(
    matrix=arrays(np.float64, (3, 8), elements=_VALUES),
    rows=st.lists(st.integers(-1, 2), max_size=5),
    offset=st.integers(-4, 10),
    count=st.integers(1, 9),
)
def test_spans_are_cut_and_gaps_filled_as_by_hand(
    matrix: npt.NDArray[np.float64], rows: list[int], offset: int, count: int
) -> None:
    def at(row: int, column: int) -> float:
        return float(matrix[row, column]) if row >= 0 and 0 <= column < 8 else math.nan

    asked = np.array(rows, np.int64)
    found, grown = np.empty((2, len(rows), count))
    cut(matrix, asked, offset, found)
    increments(matrix, asked, offset, grown)
    for n, row in enumerate(rows):
        values = [at(row, offset + column) for column in range(count)]
        np.testing.assert_array_equal(found[n], values)
        column = np.arange(offset - 1, offset + count)
        bounds = np.array([at(row, one) for one in column.tolist()])
        known = np.isfinite(bounds)
        if known.any():
            bounds = np.interp(column, column[known], bounds[known], left=math.nan, right=math.nan)
        np.testing.assert_allclose(grown[n], np.diff(bounds), atol=1e-12)


@settings(deadline=None)
@given(
    voltages=arrays(np.float64, (6, 4, 3), elements=_VOLTS),
    powers=arrays(np.float64, (6, 4, 2), elements=_VALUES),
    least=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_signals_are_deviations_of_the_voltages_that_are_believed(
    voltages: npt.NDArray[np.float64], powers: npt.NDArray[np.float64], least: float
) -> None:
    found = Signals.of(voltages, powers, None, least)
    row = 0
    for meter in range(4):
        share = [np.isfinite(voltages[:, meter, terminal]).sum() / 6 >= least for terminal in range(3)]
        count = 3 if all(share) else 2 if share[0] and share[1] else 1
        believed = np.where((voltages[:, meter] > 100) & (voltages[:, meter] < 320), voltages[:, meter], math.nan)
        if any(np.isfinite(believed[:, terminal]).sum() / 6 < least for terminal in range(count)):
            count = 0
        assert found.terminals[meter] == count
        assert found.first[meter] == row
        for terminal in range(count):
            np.testing.assert_allclose(
                found.voltage[row], believed[:, terminal] - np.nanmean(believed[:, terminal]), atol=1e-9
            )
            for kind in range(2):
                course = powers[:, meter, kind]
                known = np.isfinite(course)
                mean = course[known].mean() if known.any() else 0.0
                np.testing.assert_allclose(found.power[row, :, kind], np.where(known, course - mean, 0.0), atol=1e-9)
            assert found.meter[row] == meter
            row += 1
    assert len(found.voltage) == row

"""Topology of the grid: who hangs where (IEC TR 63353, 7.2)."""

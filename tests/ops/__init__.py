"""Tests of how gridflow is run."""

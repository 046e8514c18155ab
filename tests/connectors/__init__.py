"""Tests of how data comes in."""

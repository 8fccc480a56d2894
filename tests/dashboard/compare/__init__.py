"""Tests of dashboard/compare."""

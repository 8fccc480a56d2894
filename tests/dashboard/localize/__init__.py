"""Tests of dashboard/localize."""

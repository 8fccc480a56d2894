"""Tests of dashboard/runs."""

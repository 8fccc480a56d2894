"""Tests of dashboard/help."""

"""Tests of core/serve."""

"""Tests of core/probes."""

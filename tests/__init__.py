"""Tests, mirrored to the modules of core and dashboard."""

"""Tests of core/pipeline."""

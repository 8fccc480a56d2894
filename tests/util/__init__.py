"""Tests of core/util."""

"""Tests of core/regions."""

"""Tests of dashboard/evidence."""

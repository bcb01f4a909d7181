"""Tests of overfeat_tools."""

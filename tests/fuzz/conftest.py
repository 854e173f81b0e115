"""Fixtures of the fuzzers: a whole service for each test."""

from tests.acceptance.conftest import start_site

__all__ = ["start_site"]

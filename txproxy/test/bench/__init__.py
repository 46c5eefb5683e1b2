"""Tests for what is pure in ``bench/``. They are skipped where that is not: it is no part of an installed package."""

"""Fuzzers of everything that reads what peers send. Run ``python -m fuzz``."""

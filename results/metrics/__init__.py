"""Metrics: one module each, exposing `METRIC`; the name in a run's `evaluate.metrics` is the module's name."""

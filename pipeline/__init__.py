"""Experiment pipelines for conditional VAEs: data, models, training, judges, scores, tracking, reports.

Each package is a room that knows one thing; imports point down the floors that pyproject.toml lists and docs/DESIGN.md
draws. Nothing here knows a sweep: `sweeps` stands above, and asks for runs.
"""

"""Experiment pipelines for conditional VAEs: data, models, training, judges, scores, tracking, reports."""

"""Tensors in, numbers out: judges, reference statistics, scores, the audit, priors, and the catalog of every metric.

Measures models and knows neither where they came from nor where numbers go. A quantity has one name, one unit and one
direction, those of its row in `catalog`.
"""

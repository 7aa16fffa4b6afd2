"""Tensors in, numbers out: judges, reference statistics, scores, the audit, priors, and the catalog of every metric."""

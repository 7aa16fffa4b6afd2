"""The models, their losses and gradients, priors, and samples drawn from them. Tensors only: no files, no runs.

Everything after training knows a model by the protocol in `architecture`; only who builds, stacks or differentiates one
knows its layers.
"""

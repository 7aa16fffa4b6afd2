"""The models, their losses and gradients, and samples drawn from them. Tensors only: no files, no runs."""

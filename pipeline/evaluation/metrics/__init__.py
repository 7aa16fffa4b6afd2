"""Scores of samples and latents: tensors in, numbers out. No files, no drawing, no models, no config.

    rates        shares of images and their intervals: conditional accuracy, calibration error (Wilson 95 %)
    neighbours   k-nearest-neighbour manifolds: coverage, precision, recall, density
    copying      whether samples are unusually near to training images, in pixels and in shape
    diversity    variety within a class: Vendi score, pairwise L2 and SSIM, the PCA pixels they are taken in
    frechet      Frechet distance of two feature clouds
    likelihood   the ELBO with its standard error, importance-weighted bounds on -log p(x|c)
    latent       what z carries: active units, collapse, how much of the label leaks into it
    per_class    one of these scores, class by class

Import from the family: `from pipeline.evaluation.metrics.neighbours import coverage`.
"""

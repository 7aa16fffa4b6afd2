"""The two evaluation classifiers: their networks, augmentation, training and gates. Knows tensors; no files, no VAE."""

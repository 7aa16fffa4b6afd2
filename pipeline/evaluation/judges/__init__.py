"""The two evaluation classifiers: their networks, augmentation, training and gates. Knows tensors; no files, no VAE.

They are the instrument, so they are calibrated on real images before they may be read: see `gates`.
"""

"""One file per kind of source: a name in, the official images, labels and class names out."""

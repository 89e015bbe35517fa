"""Metrics of sets of images: scores of samples and reconstructions."""

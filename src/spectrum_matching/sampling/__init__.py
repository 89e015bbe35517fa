"""Sampling: a trained diffusion model to images, in memory and on disk."""

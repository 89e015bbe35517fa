"""Metrics of latents alone, or of latents and the images they encode."""

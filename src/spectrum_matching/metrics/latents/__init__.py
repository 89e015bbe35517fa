"""Metrics of latents: what they contain, without a decoder."""

"""Frozen vision networks: encoders for alignment, feature extractors for scores, LPIPS, Inception."""

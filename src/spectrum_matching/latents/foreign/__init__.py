"""Latent caches of REPA, MAR, U-ViT and LightningDiT: read and written."""

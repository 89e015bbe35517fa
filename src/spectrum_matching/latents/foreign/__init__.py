"""Latent caches of REPA, MAR and LightningDiT, read and written, and of U-ViT, only written."""

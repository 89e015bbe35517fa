"""Denoisers: SiT and U-ViT."""

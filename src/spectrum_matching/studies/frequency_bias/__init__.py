"""What a diffusion model learns first and best, by frequency."""

"""Study of the frequency bias: what a diffusion model learns first and best."""

"""Training of autoencoders and of diffusion models: configs, trainers, run directories."""

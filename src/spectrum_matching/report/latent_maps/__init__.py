"""The report on maps between latent spaces: page and tables."""

"""What is known of other latent spaces, and what follows from it for one that was measured."""

"""Networks. Import each from its own module, so that a discriminator does not cost the import of diffusers."""

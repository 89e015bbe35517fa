"""Networks. Import each from its own module, so that a critic does not cost the import of diffusers."""

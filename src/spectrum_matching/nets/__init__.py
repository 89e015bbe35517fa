"""Networks. Import each from its own module, so that a discriminator does not cost the import of diffusers.

Autoencoders import diffusers when one of its classes is built: --help of a command does not wait for it.
"""

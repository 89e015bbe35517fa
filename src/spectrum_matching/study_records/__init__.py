"""What the studies found, as plain numbers with their provenance: the only input of their pages."""

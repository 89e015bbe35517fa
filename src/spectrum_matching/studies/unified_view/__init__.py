"""Which side of spectrum matching a method acts on."""

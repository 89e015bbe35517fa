"""Study of the unified view: which side of spectrum matching a method acts on."""

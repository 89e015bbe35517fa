"""The page of one or several analyses."""

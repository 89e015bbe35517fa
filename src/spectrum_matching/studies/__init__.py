"""Studies: one question each, answered by a record and a page."""

"""What was measured, as frozen records with JSON in and out: the only input of reports."""

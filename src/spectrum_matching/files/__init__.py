"""Files that a kill, a full disk or a second process cannot spoil: atomic writes, documents, digests, stages."""

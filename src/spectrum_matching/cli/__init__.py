"""The command `specmatch`: a file for each of its verbs."""

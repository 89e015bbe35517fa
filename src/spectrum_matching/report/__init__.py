"""Records as self-contained pages, as tables of the terminal and as Markdown."""

"""Analyses as one self-contained page."""

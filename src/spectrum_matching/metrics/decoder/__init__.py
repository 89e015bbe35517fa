"""Metrics that run a decoder or an encoder."""

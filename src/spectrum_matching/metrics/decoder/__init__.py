"""Metrics of a decoder, or of the encoder it belongs to."""

"""Readers, one file per format; ``registry`` lists them."""

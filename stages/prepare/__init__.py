"""Pickled annotations in, a published store out."""

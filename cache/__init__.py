"""Stores on disk: the only code that writes them. Knows arrays and bytes, not poses."""

"""Is a store what was written, and was it right? And if not: mend it."""

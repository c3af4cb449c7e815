"""Pure code on arrays: what the annotations mean. Reads no store and writes nothing."""

"""What a store holds, from its manifest and metadata alone: facts as JSON, or as tables."""

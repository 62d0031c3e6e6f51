"""The gates: what a base model of the tiny world must show before a study on it means anything."""

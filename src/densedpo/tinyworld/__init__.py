"""The embedded default: a procedural world, its exact oracle, and a small text-to-video model trained on it."""

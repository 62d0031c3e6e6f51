"""What making pairs and training will cost, from a checkpoint's config files alone: no weights, no GPU."""

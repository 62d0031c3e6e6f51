"""The project: one folder, one database; clips, pairs, labels, and what follows from them. Loads no torch."""

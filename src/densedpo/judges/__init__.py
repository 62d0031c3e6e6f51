"""Scorers and labellers that look at clips."""

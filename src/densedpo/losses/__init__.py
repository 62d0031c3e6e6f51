"""Preference losses as pure functions: per-frame errors and labels in, per-sample sums and weights out."""

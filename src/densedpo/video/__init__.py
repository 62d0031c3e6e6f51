"""Video files in and out, safe by default, and renderings for people. Loads no torch."""

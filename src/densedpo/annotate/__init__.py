"""People label pairs in the browser: the server, its pages, and the player. Loads no torch."""

from densedpo.annotate.settings import AnnotateSettings

__all__ = ["AnnotateSettings"]

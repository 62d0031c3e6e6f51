"""The prompts of the tests, and what their fixture `give_adapter` is."""

from collections.abc import Callable

PROMPTS = ("a red star moves on a navy background", "a green cross moves on a grey background")
GiveAdapter = Callable[[str, float], None]

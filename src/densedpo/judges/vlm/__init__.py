"""A vision-language model as the judge of two clips: what it is asked, how its answer is read, how it is reached.

`settings.py` what a judge is, `instruction.py` the words, `frames.py` the pictures, `question.py` one request and its
identity, `answer.py` what came back, `meter.py` tokens and money, `client.py` a server, `local.py` a model folder (the
only file that loads torch).
"""

from densedpo.judges.vlm.settings import PRESETS, JudgeSettings, load_judge

__all__ = ["PRESETS", "JudgeSettings", "load_judge"]

"""Serve VideoScore2 (arXiv 2509.22799). NEVER RUN WITH REAL WEIGHTS HERE: written from its published code.

    git clone https://github.com/TIGER-AI-Lab/VideoScore2 && pip install -r videoscore2.requirements.txt
    densedpo label reward PROJECT --scorer videoscore2 --start-timeout 900 --timeout 300 \
        --command "/path/to/its/python scripts/reward_servers/videoscore2.py --repo VideoScore2"

Takes the instruction that the model was trained with, and the two functions that turn its words into soft scores, from
the repository's `vs2_inference.py`. Departs from it in one thing: it decodes greedily where that file samples, so that
the same segment always gets the same score. `overall` is the mean of the three scores.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from string import Template
from typing import Any

from serve import Request, Score, segment_file, serve

# Our name of a score: what stands before the number in the model's answer.
NAMES = {
    "visual_quality": "visual quality:",
    "text_alignment": "text-to-video alignment:",
    "physical_consistency": "physical/common-sense consistency:",
}


def instruction(repo: str) -> Template:
    """The instruction as the makers' script has it; $t2v_prompt stands for the caption."""
    with open(os.path.join(repo, "vs2_inference.py"), encoding="utf-8") as file:
        found = re.search(r'Template\("""(.*?)"""\)', file.read(), re.DOTALL)
    if found is None:
        raise SystemExit(f"{repo}/vs2_inference.py holds no instruction where this script looks for it")
    return Template(found.group(1))


def load(options: argparse.Namespace) -> Score:
    """Load the model as the makers' script does."""
    sys.path.insert(0, os.path.abspath(options.repo))
    import torch
    import vs2_inference as makers
    from qwen_vl_utils import process_vision_info
    from transformers import AutoModelForVision2Seq, AutoProcessor

    model = AutoModelForVision2Seq.from_pretrained(options.model, trust_remote_code=True).to("cuda").eval()
    processor = AutoProcessor.from_pretrained(options.model, trust_remote_code=True)
    template = instruction(options.repo)

    def generate(path: str, caption: str) -> Any:
        video = {"type": "video", "video": path, "fps": options.fps}
        words = {"type": "text", "text": template.substitute(t2v_prompt=caption)}
        messages = [{"role": "user", "content": [video, words]}]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        images, videos = process_vision_info(messages)
        inputs = processor(
            text=[text], images=images, videos=videos, fps=options.fps, padding=True, return_tensors="pt"
        ).to("cuda")
        with torch.no_grad():
            out = model.generate(
                **inputs, max_new_tokens=1024, do_sample=False, output_scores=True, return_dict_in_generate=True
            )
        return out.sequences[0, inputs["input_ids"].shape[1] :].tolist(), out.scores

    def score(request: Request) -> dict[str, float]:
        with segment_file(request) as path:
            tokens, logits = generate(path, request.caption)
        found = {}
        for name, words in NAMES.items():
            place = makers.find_score_token_index_by_prompt(words, processor.tokenizer, tokens)
            soft = None if place < 0 else makers.ll_based_soft_score_normed(0, place, logits, processor.tokenizer)
            if soft is None:
                raise ValueError(f"the model's answer has no score after {words!r}")
            found[name] = float(soft)
        return {"overall": sum(found.values()) / len(found), **found}

    return score


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve VideoScore2 to densedpo.")
    parser.add_argument("--repo", required=True, help="the cloned repository")
    parser.add_argument("--model", default="TIGER-Lab/VideoScore2")
    parser.add_argument("--fps", type=float, default=8.0, help="frames a second that the model looks at (its own: 2)")
    serve("videoscore2", ["overall", *NAMES], load, parser)

"""The encode stage: all clips and captions ahead, so that making pairs never waits for an encoder."""

from __future__ import annotations

from densedpo.diffusion.protocol import VideoModel, given_frames
from densedpo.models.encoded import encode_clips, encode_first_frames, encode_prompts
from densedpo.pairs.recipe import check_shapes
from densedpo.store.project import Project


def encode(project: Project, model: VideoModel) -> tuple[int, int]:
    """Encode what the project's cache lacks; returns how many clips and prompts were new.

    Raises:
        UserError: the model cannot take a clip's frames or size; the disk is full.
    """
    with project.lock("encode"):
        clips = list(project.clips())
        check_shapes(clips, model)
        prompts = encode_prompts(project, model, [clip.caption for clip in clips], [model.defaults.negative_prompt])
        if given_frames(model):
            encode_first_frames(project, model, [clip.id for clip in clips])
        return encode_clips(project, model, clips), prompts

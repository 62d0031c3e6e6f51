"""Training: a LoRA adapter on the denoiser from segment labels."""

from densedpo.training.settings import TrainSettings

__all__ = ["TrainSettings"]

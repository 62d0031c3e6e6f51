"""densedpo: makes video diffusion models better from fine-grained preferences."""

__version__ = "0.1.0"

"""What every video diffusion model shares: noising process, schedule, sampler, and randomness by key."""

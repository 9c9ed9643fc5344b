"""PPO: collect experience, estimate advantages, normalize, update."""

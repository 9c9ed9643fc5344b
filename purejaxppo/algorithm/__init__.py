"""PPO itself: collect, estimate, normalise, learn."""

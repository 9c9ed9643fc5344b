"""What an environment is, and how it is wrapped."""

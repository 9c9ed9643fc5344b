"""Actor-critic networks: encoders, torsos, recurrent memory and action heads."""

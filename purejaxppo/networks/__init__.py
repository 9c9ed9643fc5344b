"""Networks: encoders, torsos, memory, heads."""

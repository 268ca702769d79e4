"""What a training run is, a proxy or a 70B model alike; nothing here imports torch."""

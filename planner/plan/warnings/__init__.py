"""What a plan warns of, one function a warning."""

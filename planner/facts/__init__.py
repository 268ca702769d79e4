"""What is known beforehand: laws, recipes, measured optima, models, accelerators."""

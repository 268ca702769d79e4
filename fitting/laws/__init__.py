"""What a law is: its forms, range and numbers, read, checked, written and evaluated.

Doors: `file.read_law`, `file.make_law`; `evaluate.evaluate_law`, `evaluate.law_log_sd`,
`evaluate.distance_squared`; `loss.predict_loss`; `surface.surface_from`, `surface.best_point`,
`surface.log_penalty`; `plateau.plateau`, `plateau.cost`, `plateau.move_lr`; `schema.law_schema`.
All evaluate with `math` alone.
"""

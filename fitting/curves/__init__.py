"""Loss against step: curves read, laws fitted to them, schedules designed by them.

Rooms: `files` (curves and schedules on disk) · `paths` (what a law sees of a schedule: summed lr,
changes of lr) · `forms` (loss of a path and its gradient) · `fit` (many starts, resampled blocks)
· `law` (a fit as a law file, and back) · `predict` (loss with its interval) · `design` (the
schedule with the lowest forecast) · `extend` (a run in progress) · `plots`.
"""

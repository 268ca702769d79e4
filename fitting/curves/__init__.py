"""Loss against step: curves read, laws fitted to them, schedules designed by them.

Rooms: `files` (curves and schedules on disk) · `paths` (what a law sees of a schedule: summed lr,
changes of lr) · `forms` (loss of a path and its gradient) · `problem` (what a fit minimises) ·
`fit` (many starts at once) · `intervals` (resampled blocks, curves held out) · `law` (a law file,
and its forecast) · `design` (the schedule with the lowest forecast) · `extend` (a run in
progress) · `plots`.
"""

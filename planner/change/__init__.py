"""A run that changes: gone on from, grown, made longer, moved to another batch or hardware.

Rooms: `replan` (what a finished or running plan fixes of the next), `report` (numbers with source
and interval, the lr of every step left, JSON), `cases` (published runs that changed), and one for
each change: `continual`, `grow`, `extend`, `batch`, `gpus`.
"""

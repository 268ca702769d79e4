"""What a sweep keeps on disk: its records, their progress, other tools' trackers."""

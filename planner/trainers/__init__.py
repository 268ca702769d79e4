"""Other people's trainers: a run written as their config, their config read as a run."""

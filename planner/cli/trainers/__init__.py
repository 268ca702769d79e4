"""Commands of trainers' configs."""

"""Trainers: one module each, and the folder is the registry.

A module has one constant, `TRAINER`: what the trainer can express (`planner.trainers.trainer`), how
its files are written and read, and where its scheduler samples the learning rate. Nothing else
has to be edited to add one.
"""

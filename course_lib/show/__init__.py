"""Plots, widgets to play with, and progress bars; they read records and never train."""

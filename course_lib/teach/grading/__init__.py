"""Marking what strangers hand in: intake, sandbox, gradebook, regrading, analysis."""

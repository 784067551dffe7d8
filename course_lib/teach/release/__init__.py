"""Handing the course out: the student bundle and the roster."""

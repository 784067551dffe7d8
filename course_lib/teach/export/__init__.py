"""Quizzes and marks in the formats of other systems."""

"""The instructor's side: building lessons."""

"""Building lessons: inputs, one run, the matrix of all, and drift."""

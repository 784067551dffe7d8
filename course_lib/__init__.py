"""Fine-Tuning GPT, Hands-On: the library behind the course.

Importing this package loads no torch; each room loads what it needs when used.
"""

__version__ = "0.1.0"

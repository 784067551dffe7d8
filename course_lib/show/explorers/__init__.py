"""One explorer a lesson: small widgets for playing with a result. They need a running kernel."""

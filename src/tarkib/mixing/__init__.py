"""Mixing solo slices into polyphony: what a mode promises, what to mix, and how to make it sound."""

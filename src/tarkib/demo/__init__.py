"""The built-in orchestra: synthetic Persian solos and ensemble excerpts, as data that anyone may have."""

"""Honest figures for a trained classifier: a hand-labelled test set, its scores with intervals, and what is written."""

"""Test-set leakage: test excerpts that also occur in the training or validation recordings."""

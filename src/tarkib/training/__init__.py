"""Training the classifier with `transformers.Trainer`: data sets, the training loop, checkpoints, devices."""

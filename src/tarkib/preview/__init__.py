"""A data set to look at and to listen to: mixtures or slices as one HTML page that needs no network, no other file."""

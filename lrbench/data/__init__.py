"""Images: datasets, how low-resolution copies are made of them, and the batches that training reads."""

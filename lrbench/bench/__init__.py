"""`lrbench bench`: how quick the training loop is, beside its limit and beside the usual loop of public code."""

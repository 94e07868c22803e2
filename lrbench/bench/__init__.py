"""`lrbench bench`: how quick the training loop is, against the bare step, its limit."""

"""`lrbench bench`: how quick the loop is, and how cost grows."""

"""`lrbench report`: a store as a static site."""

"""Training steps replayed as CUDA graphs: the graph, and the checks that a replay does what the step does."""

"""From words to a graph of specs: presets, suites, and all the runs that a run needs."""

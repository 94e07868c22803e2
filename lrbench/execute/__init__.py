"""Carrying out a graph of runs: one run, or the schedule of many, on this machine or on several."""

"""Methods × seeds, end to end: plans, trials, one comparison."""

"""Keys, the decision to run or not, the scheduler and the runner of workers."""

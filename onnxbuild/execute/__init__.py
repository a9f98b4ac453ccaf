"""The engine: keys, the decision whether to run, the scheduler, and the threads that drive the workers."""

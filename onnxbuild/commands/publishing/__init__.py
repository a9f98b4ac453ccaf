"""What `plan` shows of uploads: the difference between a package and its destination."""

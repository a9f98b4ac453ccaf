"""What a run leaves behind so that the next one only checks whether a file has changed."""

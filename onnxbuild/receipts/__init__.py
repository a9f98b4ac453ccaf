"""What a run leaves behind so that the next one only looks whether anything has moved."""

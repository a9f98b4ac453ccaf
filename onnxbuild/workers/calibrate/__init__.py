"""What the tensors of a graph hold while it reads data."""

"""SmoothQuant's scales for dynamic int8: what is large in few channels of an activation moves into the weight."""

"""The server of delivered models: HTTP in one process, and each model's sessions in processes of their own."""

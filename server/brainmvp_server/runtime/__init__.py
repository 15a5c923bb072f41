"""What a running service consists of: its models, its worker, who may come in."""

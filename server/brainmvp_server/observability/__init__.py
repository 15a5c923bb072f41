"""What an operator sees: logs, metrics, traces. None of them holds anything of a patient's."""

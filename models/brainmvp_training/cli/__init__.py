"""The training commands: ``brainmvp synthesize``, ``pretrain`` and ``finetune``."""

"""``python -m brainmvp_clients.cli``: the command where no console script is installed."""

from brainmvp_clients.cli import main

main()

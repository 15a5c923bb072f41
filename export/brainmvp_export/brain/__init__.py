"""The bundle that finds brains: made from the weights of deepbet, and proved against them."""

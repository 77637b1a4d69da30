"""The Face Reward Model (Sec. 3.1, App. A.2): model, data, losses, training."""

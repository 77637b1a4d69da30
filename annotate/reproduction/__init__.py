"""The paper's tables from one command: their steps, what these need, and the paper's figures beside ours."""

"""The lite family: our own networks, whose tasks are biases of the weights."""

"""One update's learning: epochs of minibatches, their loss and their optimizer."""

"""The update: minibatch epochs, loss terms, schedules and optimizers."""

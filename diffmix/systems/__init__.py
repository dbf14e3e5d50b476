"""What is trained: an estimator, a console and a loss."""

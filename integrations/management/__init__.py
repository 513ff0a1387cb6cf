"""What operators run on the command line."""

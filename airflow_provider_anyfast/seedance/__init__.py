"""What the Seedance models can do, what a request for one looks like, and what it costs."""

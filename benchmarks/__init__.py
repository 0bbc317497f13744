"""What this provider costs, beside what one would use without it, in one run: ``make bench``."""

"""`make load`: many concurrent users, checks of their answers, and a report."""

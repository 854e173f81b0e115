"""`make load`: many users at once, a judgement, reports."""

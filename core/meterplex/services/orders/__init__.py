"""Orders: payments in, credit to and from meters, refunds and reversals."""

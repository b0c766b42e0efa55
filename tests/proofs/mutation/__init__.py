"""The proof of the tests: the code is changed, one small change at a time, and a test must fail."""

"""The user's own index: build one, search it, and check that a student fits it."""

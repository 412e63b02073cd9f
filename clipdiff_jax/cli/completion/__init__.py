"""Words that a shell completes: a table of all commands and options, and a script of it."""

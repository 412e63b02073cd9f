"""The subcommands of `evaluate.py`: each module adds its parser by `add` and runs it.

What is measured, and how, is in `evaluate/`; here are options, loading, tables and pictures.
`evaluate_command.py` knows which subcommand is which module's.
"""

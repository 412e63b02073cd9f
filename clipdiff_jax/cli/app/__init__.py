"""`clipdiff app`: the commands as a page in the browser."""

"""What an evaluation found: one schema that is written and read, tables, comparisons."""

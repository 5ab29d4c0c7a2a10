"""A file of any format -> points: reading, sampling surfaces, reading in processes with limits."""

"""Model cards: rendered from a folder of weights, what a person states, and the JSON of evaluations."""

"""What is computed: encoders, pre-training models, heads, the frozen image teacher. No files, hubs or loops."""

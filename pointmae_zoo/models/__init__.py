"""What is computed: encoders, pre-training models, heads, the image teacher. No files, hubs or loops."""

"""What knows no shapes and no models: files written whole, progress, checked fields, YAML, secrets."""

"""What is computed: the encoder, families of pre-training models, heads, the image teacher.

Every file and folder here is imported at the first question about names (see `models.registry`), so importing
them must stay cheap.
"""

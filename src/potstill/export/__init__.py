"""One graph from token ids to the final vector, smaller files, and what each costs and keeps."""

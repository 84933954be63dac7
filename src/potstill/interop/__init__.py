"""Students and objectives inside other people's tools."""

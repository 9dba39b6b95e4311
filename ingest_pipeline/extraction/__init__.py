"""From documents to observations: extractors, the trait schema, grounding."""

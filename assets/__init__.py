"""What is materialised, per which partition, when. No parsing, no SQL, no prompts."""

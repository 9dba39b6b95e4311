"""The LLM proxy: an OpenAI-compatible endpoint that knows whom it talks to, and learns from what they say.

request ─▶ who ─▶ what is known of them, put in front ─▶ upstream ─▶ the answer, as it comes
                                                            └──▶ the user's words as documents ─▶ extracted afterwards
"""

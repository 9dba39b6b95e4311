"""Turns CRM exports, mailboxes and chat archives into user profiles with evidence."""

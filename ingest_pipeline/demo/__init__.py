"""A made-up inbox of CRM exports, mail and chat, with the answers that a sync of it must find."""

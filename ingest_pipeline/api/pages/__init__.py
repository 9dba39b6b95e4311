"""The viewer: server-rendered pages to see what the system believes of a person, why, and to decide.

    sessions, visits     who looks: login by the API key, a signed cookie, a token in every form
    rendering, problems  templates and what every page has; errors as pages
    *_page, decisions    one module per page; routes, and what its template is given
    passages, chart      pure: highlighted text, the spend as shapes
    background           `ingest retry` and `ingest forget` as processes of their own

Pages have no inline script or style: the content security policy allows neither.
"""

"""``ingest text``: one text about one profile."""

from pathlib import Path
from typing import Annotated

import typer

from ingest_pipeline.cli.app import Create, Profile, app, find_or_create, opened, print_json
from ingest_pipeline.errors import IngestError
from ingest_pipeline.settings import load_settings


@app.command()
def text(
    profile: Profile,
    dash: Annotated[str | None, typer.Argument(metavar="[-]", help="- reads the text from stdin.")] = None,
    data: Annotated[str | None, typer.Option(help="The text.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with the text.")] = None,
    source: Annotated[str | None, typer.Option(help="Where it comes from, in your own words.")] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object kept with the text.")] = None,
    traits: Annotated[bool, typer.Option("--traits/--no-traits")] = True,
    memories: Annotated[bool, typer.Option("--memories/--no-memories")] = True,
    occurred_at: Annotated[str | None, typer.Option(help="When it was written, in ISO 8601.")] = None,
    trait_schema: Annotated[Path | None, typer.Option(help="A JSON file with traits for this text alone.")] = None,
    store_only: Annotated[
        bool, typer.Option("--store-only", help="Extract nothing: the job ingest_text or the next sync does.")
    ] = False,
    create: Create = False,
) -> None:
    """Ingest one text about a profile and print the ingest endpoint's answer, or its error body, as JSON."""
    from ingest_pipeline.direct import TextRequest, check_request, ingest_text, store_text
    from ingest_pipeline.given import given_metadata, given_moment, given_text, given_traits
    from ingest_pipeline.wire import error_json, text_result_json

    try:
        request = TextRequest(
            data=given_text(data, file, dash),
            source=source,
            metadata=given_metadata(metadata),
            extract_traits=traits,
            extract_memories=memories,
            occurred_at=given_moment(occurred_at),
            traits=given_traits(trait_schema),
        )
        check_request(request)
        with opened(load_settings().while_someone_waits(), create) as pipeline:
            profile_id = find_or_create(pipeline.engine, profile, create)
            if store_only:
                print_json({"profileId": profile_id, "documentId": store_text(pipeline, profile_id, request)})
                return
            result = ingest_text(pipeline, profile_id, request)
    except IngestError as error:
        print_json(error_json(error))
        raise
    print_json(text_result_json(result, request))

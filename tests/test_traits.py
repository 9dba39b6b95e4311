"""The trait schema: loading, its errors, and which values it accepts."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.errors import TraitSchemaError
from ingest_pipeline.extraction.traits import (
    TraitSchema,
    ValueRejected,
    load_traits,
    normalise_value,
    parse_traits,
)

DEFAULT_KEYS = {
    "name", "preferred_language", "communication_style", "detail_preference", "expertise_level", "timezone",
    "interests", "current_goals", "company", "job_title", "location", "contact_preference",
}  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> TraitSchema:
    return load_traits(None)


@pytest.fixture(scope="module")
def custom() -> TraitSchema:
    return parse_traits(
        {
            "traits": [
                {"key": "seats", "valueType": "number"},
                {"key": "vip", "valueType": "boolean"},
                {"key": "city", "valueType": "string", "synonyms": {"Munich": ["München", "Muenchen"]}},
                {"key": "tags", "valueType": "array"},
                {"key": "off", "valueType": "string", "extraction": {"enabled": False}},
            ]
        }
    )


def test_the_default_schema_has_the_twelve_traits_each_fully_described(schema: TraitSchema) -> None:
    """A prompt and a profile page need every one of these texts."""
    assert {trait.key for trait in schema.traits} == DEFAULT_KEYS
    for trait in schema.traits:
        assert trait.label
        assert trait.description
        assert trait.extraction.prompt_snippet
        assert "{{value}}" in trait.injection.template


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("contact_preference", "email", "email"),
        ("contact_preference", " E-Mail ", "email"),
        ("contact_preference", "e\u2011mail", "email"),
        ("contact_preference", "Telephone", "phone"),
        ("contact_preference", "call", "phone"),
        ("preferred_language", "de", "German"),
        ("preferred_language", "german", "German"),
        ("preferred_language", "Français", "French"),
        ("preferred_language", "pt-BR", "Portuguese"),
        ("preferred_language", "Klingon", "Klingon"),
        ("detail_preference", "Concise", "brief"),
        ("communication_style", "non-technical", "simple"),
        ("expertise_level", "Novice", "beginner"),
        ("timezone", "Pacific Time", "America/Los_Angeles"),
        ("timezone", "Europe/Lisbon", "Europe/Lisbon"),
        ("name", "  Dana\n Smith ", "Dana Smith"),
        ("interests", "trail  running", "trail running"),
    ],
)
def test_values_become_canonical(schema: TraitSchema, key: str, value: str, expected: str) -> None:
    """Exact, case-folded or declared synonym; white space and kinds of hyphen do not matter."""
    assert schema.normalise(key, value) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seats", 12, 12),
        ("seats", "12", 12),
        ("seats", "-1.5", -1.5),
        ("seats", 3.0, 3),
        ("vip", True, True),
        ("vip", "Yes", True),
        ("vip", "no", False),
        ("city", "MÜNCHEN", "Munich"),
        ("tags", "a  b", "a b"),
    ],
)
def test_values_of_other_types_are_read_from_text(custom: TraitSchema, key: str, value: Any, expected: Any) -> None:
    """Numbers from numeric strings, booleans from yes and no."""
    result = custom.normalise(key, value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("shoe_size", "44", "unknown_trait"),
        ("off", "x", "trait_disabled"),
        ("seats", "a dozen", "wrong_type"),
        ("seats", "1,200", "wrong_type"),
        ("seats", "٣", "wrong_type"),
        ("seats", True, "wrong_type"),
        ("seats", float("nan"), "wrong_type"),
        ("seats", "", "empty_value"),
        ("vip", "maybe", "wrong_type"),
        ("vip", 1, "wrong_type"),
        ("vip", " ", "empty_value"),
        ("city", 5, "wrong_type"),
        ("city", " \n", "empty_value"),
        ("city", None, "empty_value"),
        ("tags", ["a"], "wrong_type"),
    ],
)
def test_other_values_are_rejected_with_a_reason(custom: TraitSchema, key: str, value: Any, reason: str) -> None:
    """The reason is what a person sees beside the rejected observation."""
    with pytest.raises(ValueRejected) as rejected:
        custom.normalise(key, value)
    assert rejected.value.reason == reason


def test_a_value_outside_the_enum_is_rejected(schema: TraitSchema) -> None:
    """An enum never grows by what a model returns."""
    with pytest.raises(ValueRejected, match="not_in_enum"):
        schema.normalise("contact_preference", "carrier pigeon")


def test_a_manual_value_of_a_disabled_trait_is_still_checked(custom: TraitSchema) -> None:
    """Switching extraction off leaves the trait editable by hand."""
    trait = custom.get("off")
    assert trait is not None
    assert normalise_value(trait, " by hand ") == "by hand"


@given(key=st.sampled_from(sorted(DEFAULT_KEYS)), value=st.text())
def test_normalising_is_idempotent(key: str, value: str) -> None:
    """A canonical value is its own canonical value."""
    schema = load_traits(None)
    try:
        once = schema.normalise(key, value)
    except ValueRejected:
        return
    assert schema.normalise(key, once) == once


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, 'expected {"traits"'),
        ("x", 'expected {"traits"'),
        ([], "0 traits"),
        ([3], "traits[0]: Input should be an object"),
        ([{"valueType": "string"}], "traits[0]: key: missing"),
        ([{"key": "Shoe Size", "valueType": "string"}], "traits[0] (Shoe Size): key: must be lower-case"),
        ([{"key": "a", "valueType": "text"}], "valueType: Input should be 'string'"),
        ([{"key": "a", "valueType": "enum"}], "enumValues must list at least one value"),
        ([{"key": "a", "valueType": "string", "enumValues": ["x"]}], "enumValues is only for"),
        ([{"key": "a", "valueType": "enum", "enumValues": ["x", "X"]}], "differ by more than case"),
        ([{"key": "a", "valueType": "enum", "enumValues": ["x"], "synonyms": {"y": ["z"]}}], "not one of enumValues"),
        ([{"key": "a", "valueType": "string", "synonyms": {"x": ["z"], "y": ["Z"]}}], "'Z' for two values"),
        ([{"key": "a", "valueType": "string", "treshold": 1}], "treshold: unknown field"),
        ([{"key": "a", "valueType": "string", "extraction": {"confidenceThreshold": 2}}], "confidenceThreshold: Input"),
        ([{"key": "a", "valueType": "string", "injection": {"template": "hi"}}], "must contain {{value}}"),
        ([{"key": "a", "valueType": "string", "halfLifeDays": 0}], "halfLifeDays"),
        ([{"key": "a", "valueType": "string"}] * 2, "traits[1] (a): key: is used twice"),
    ],
)
def test_a_wrong_schema_is_explained_in_one_line(entries: Any, message: str) -> None:
    """Which entry, which field, what to do."""
    with pytest.raises(TraitSchemaError) as error:
        parse_traits(entries)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "INGEST_TRAITS"), (b"\xff\xfe\xfa", "UTF-8"), (b"{,}", "not JSON at line 1"), (b"[" * 100_000, "nested")],
)
def test_an_unreadable_file_is_explained(tmp_path: Path, content: bytes | None, message: str) -> None:
    """The message names the file."""
    path = tmp_path / "traits.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TraitSchemaError) as error:
        load_traits(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_schema_file_is_read(tmp_path: Path) -> None:
    """A BOM, as Windows editors write it, does no harm."""
    path = tmp_path / "traits.json"
    path.write_text(json.dumps({"traits": [{"key": "a", "valueType": "string"}]}), encoding="utf-8-sig")
    assert [trait.key for trait in load_traits(path).traits] == ["a"]


def test_the_fingerprint_changes_only_with_what_decides_extraction() -> None:
    """A new template or threshold must not send every document to the model again."""

    def of(**entry: Any) -> str:
        return parse_traits([{"key": "a", "valueType": "string", **entry}]).fingerprint

    base = of()
    assert of(label="A", category="c", halfLifeDays=3, synonyms={"x": ["y"]}) == base
    assert of(injection={"template": "{{value}}"}, extraction={"confidenceThreshold": 0.9}) == base
    assert of(description="d") != base
    assert of(valueType="array") != base
    assert of(extraction={"promptSnippet": "p"}) != base
    two = [{"key": "a", "valueType": "string"}, {"key": "b", "valueType": "string"}]
    assert parse_traits(two).fingerprint == parse_traits(two[::-1]).fingerprint != base

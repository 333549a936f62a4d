//! The JSON Schema of all kinds, told from the types.

use super::{Kind, Resource};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// One schema that any of our objects satisfies: editors complete and check by it. Draft 2020-12.
#[must_use]
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let of_kind = |kind: &Kind| {
        let mut schema = Resource::schema_of(*kind, &mut generator);
        schema.insert("title".to_owned(), kind.name().into());
        schema.to_value()
    };
    let kinds: Vec<Value> = Kind::ALL.iter().map(of_kind).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Shoal's resources",
        "oneOf": kinds,
        "$defs": generator.take_definitions(true),
    })
}

//! Schema pieces written by hand: what the derive cannot say, and the fields that we keep but do not
//! read.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A moment as Kubernetes writes it.
pub(super) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// An object that is kept whole, whatever is in it.
pub(super) fn kept_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A whole Kubernetes object inside another.
pub(super) fn embedded_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true
    })
}

/// A list of objects that are kept whole.
pub(super) fn kept_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": kept()})
}

/// Adds the fields of a service that we keep and do not read.
pub(super) fn unread_service_fields(schema: &mut Schema) {
    let text = json!({"type": "string"});
    let flag = json!({"type": "boolean"});
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    add(
        schema,
        [
            ("annotations", described(&texts, "Annotations of the generated pods and services.")),
            ("labels", described(&texts, "Labels of the generated pods and services.")),
            ("serviceName", described(&text, "Name of the component.")),
            ("dynamoNamespace", described(&text, "Deprecated and ignored.")),
            (
                "globalDynamoNamespace",
                described(&flag, "Whether the component joins the Dynamo namespace `dynamo`."),
            ),
            ("autoscaling", described(&kept(), "Deprecated and ignored.")),
            ("envs", described(&list_of(kept()), "Environment of the service.")),
            ("envFromSecret", described(&text, "A secret whose keys all become environment.")),
            (
                "volumeMounts",
                described(
                    &list_of(object([
                        ("name", text.clone()),
                        ("mountPoint", text.clone()),
                        ("useAsCompilationCache", flag.clone()),
                    ])),
                    "Volumes of `spec.pvcs` to mount.",
                ),
            ),
            (
                "ingress",
                described(
                    &object([
                        ("enabled", flag.clone()),
                        ("host", text.clone()),
                        ("useVirtualService", flag.clone()),
                        ("virtualServiceGateway", text.clone()),
                        ("hostPrefix", text.clone()),
                        ("annotations", texts.clone()),
                        ("labels", texts.clone()),
                        ("tls", object([("secretName", text.clone())])),
                        ("hostSuffix", text.clone()),
                        ("ingressControllerClassName", text.clone()),
                    ]),
                    "How the component is reached from outside.",
                ),
            ),
            (
                "modelRef",
                described(
                    &object([("name", text.clone()), ("revision", text.clone())]),
                    "The base model that the component serves.",
                ),
            ),
            (
                "sharedMemory",
                described(
                    &object([
                        ("disabled", flag.clone()),
                        ("size", json!({"x-kubernetes-int-or-string": true})),
                    ]),
                    "Size of /dev/shm; 8Gi where nothing is said.",
                ),
            ),
            (
                "extraPodMetadata",
                described(
                    &object([("annotations", texts.clone()), ("labels", texts)]),
                    "Metadata added to the pods.",
                ),
            ),
            ("livenessProbe", described(&kept(), "Replaces the default probe.")),
            ("readinessProbe", described(&kept(), "Replaces the default probe.")),
            (
                "eppConfig",
                described(
                    &object([
                        ("configMapRef", object([("name", text.clone()), ("key", text.clone())])),
                        ("config", kept()),
                    ]),
                    "Configuration of an endpoint picker.",
                ),
            ),
            (
                "checkpoint",
                described(
                    &object([
                        ("enabled", flag),
                        ("mode", json!({"type": "string", "enum": ["Auto", "Manual"]})),
                        ("checkpointRef", text),
                        ("identity", kept()),
                    ]),
                    "Start from a checkpoint.",
                ),
            ),
        ],
    );
}

/// Adds the parts of a service's status that we keep and do not read.
pub(super) fn unread_dgd_status_fields(schema: &mut Schema) {
    let text = json!({"type": "string"});
    add(
        schema,
        [
            (
                "restart",
                object([
                    ("observedID", text.clone()),
                    (
                        "phase",
                        json!({"type": "string", "enum":
                            ["Pending", "Restarting", "Completed", "Failed", "Superseded"]}),
                    ),
                    ("inProgress", list_of(text.clone())),
                ]),
            ),
            ("checkpoints", json!({"type": "object", "additionalProperties": kept()})),
            (
                "rollingUpdate",
                object([
                    (
                        "phase",
                        json!({"type": "string", "enum":
                            ["Pending", "InProgress", "Completed", "Failed", ""]}),
                    ),
                    ("startTime", json!({"type": "string", "format": "date-time"})),
                    ("endTime", json!({"type": "string", "format": "date-time"})),
                    ("updatedServices", list_of(text)),
                ]),
            ),
        ],
    );
}

/// Takes the null away that the derive allows for every optional field: upstream's schemas refuse
/// it.
pub(super) fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(forbid_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Allows null for a service, which [`forbid_null`] took away: upstream's map holds pointers.
pub(super) fn allow_null_services(crd: &mut Value) {
    if let Some(Value::Object(service)) = crd.pointer_mut(SERVICE) {
        service.insert("nullable".to_owned(), Value::Bool(true));
    }
}

const SERVICE: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/services\
                       /additionalProperties";

/// Writes numbers that are whole without a fraction: bounds are floats in a CRD's type.
pub(super) fn write_whole_numbers(schema: &mut Value) {
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        Value::Number(number) => {
            let text = number.to_string();
            if let Some(Ok(whole)) = text.strip_suffix(".0").map(str::parse::<i64>) {
                *schema = Value::from(whole);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn add<const N: usize>(schema: &mut Schema, fields: [(&str, Value); N]) {
    let properties = schema.ensure_object().entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        for (name, field) in fields {
            properties.insert(name.to_owned(), field);
        }
    }
}

fn described(schema: &Value, description: &str) -> Value {
    let mut schema = schema.clone();
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("description".to_owned(), Value::String(description.to_owned()));
    }
    schema
}

/// An object with typed fields that keeps the fields it does not name.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let properties: serde_json::Map<String, Value> =
        fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect();
    json!({
        "type": "object",
        "properties": properties,
        "x-kubernetes-preserve-unknown-fields": true
    })
}

fn list_of(item: Value) -> Value {
    json!({"type": "array", "items": item})
}

fn kept() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

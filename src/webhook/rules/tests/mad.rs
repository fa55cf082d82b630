//! No JSON makes a rule panic, and what is filled in always fits.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// Words that the rules look at, so that random objects are not all beside the point.
const WORDS: &[&str] = &[
    "spec",
    "metadata",
    "status",
    "annotations",
    "deletionTimestamp",
    "services",
    "components",
    "name",
    "replicas",
    "scalingAdapter",
    "enabled",
    "multinode",
    "componentType",
    "type",
    "epp",
    "eppConfig",
    "config",
    "configMapRef",
    "ingress",
    "host",
    "volumeMounts",
    "sharedMemory",
    "size",
    "disabled",
    "pvcs",
    "create",
    "restart",
    "id",
    "strategy",
    "order",
    "Parallel",
    "backendFramework",
    "profilingConfig",
    "profilerImage",
    "engine",
    "backend",
    "hardware",
    "minNumGpusPerEngine",
    "maxNumGpusPerEngine",
    "searchStrategy",
    "thorough",
    "phase",
    "Profiling",
    "state",
    "observedGeneration",
    "decode",
    "Decode",
    "dynamoNamespace",
    "autoscaling",
    "model",
    "",
];

fn json_value() -> impl Strategy<Value = Value> {
    let word = || proptest::sample::select(WORDS).prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        let key = prop_oneof![4 => word(), 1 => ".{0,6}"];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(key, inner, 0..8).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A sound object in which something at random was replaced.
fn nearly_sound() -> impl Strategy<Value = Value> {
    let paths = vec![
        "/metadata",
        "/spec",
        "/spec/services",
        "/spec/services/decode",
        "/spec/services/decode/replicas",
        "/spec/services/decode/scalingAdapter",
        "/spec/components",
        "/spec/components/0",
        "/spec/components/1/name",
        "/spec/components/1/scalingAdapter",
        "/spec/backendFramework",
    ];
    (any::<bool>(), vec((proptest::sample::select(paths), json_value()), 0..4)).prop_map(
        |(is_alpha, changes)| {
            let mut object = if is_alpha { alpha() } else { beta() };
            for (path, value) in changes {
                if let Some(place) = object.pointer_mut(path) {
                    *place = value;
                }
            }
            object
        },
    )
}

fn check(
    object: Option<Value>,
    old: Option<Value>,
    is_alpha: bool,
    is_update: bool,
    user: Option<String>,
) {
    for (_, door) in DOORS {
        let (Door::Validate(subject) | Door::Fill(subject)) = door;
        let request = Request {
            uid: "u".to_owned(),
            group: "nvidia.com".to_owned(),
            version: if is_alpha { "v1alpha1" } else { "v1beta1" }.to_owned(),
            kind: subject.kind().to_owned(),
            sub_resource: String::new(),
            name: String::new(),
            namespace: "n".to_owned(),
            operation: if is_update { Operation::Update } else { Operation::Create },
            user: user.clone(),
            object: object.clone(),
            old: old.clone(),
        };
        let rules = Rules { dynamo_version: Some("1.0".to_owned()), ..Rules::default() };
        let answer = answer(*door, &request, &rules);
        let review: Value = serde_json::from_slice(&answer.to_review("u")).unwrap();
        assert_eq!(review["response"]["allowed"], json!(answer.denial.is_none()));
        if let Some(denial) = &answer.denial {
            assert!(!denial.message.is_empty());
            assert!(denial.code == 400 || denial.code == 403);
        }
        if let Some(object) = object.clone().filter(|_| !answer.patch.is_empty()) {
            let once = applied(object, &answer.patch);
            let again = super::answer(*door, &Request { object: Some(once), ..request }, &rules);
            assert_eq!(again.patch, [], "twice is once");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_json_makes_a_rule_panic(
        object in proptest::option::of(json_value()),
        old in proptest::option::of(json_value()),
        is_alpha: bool,
        is_update: bool,
        user in proptest::option::of(".{0,20}"),
    ) {
        check(object, old, is_alpha, is_update, user);
    }

    #[test]
    fn nor_does_an_object_that_is_nearly_sound(
        object in nearly_sound(), old in nearly_sound(), is_alpha: bool, is_update: bool,
    ) {
        check(Some(object), Some(old), is_alpha, is_update, Some("ada".to_owned()));
    }

    #[test]
    fn nor_any_bytes_the_reader(body in vec(any::<u8>(), 0..200), review in json_value()) {
        drop(Request::decode(&body));
        drop(Request::decode(review.to_string().as_bytes()));
        let whole = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": review});
        drop(Request::decode(whole.to_string().as_bytes()));
    }

    /// Whoever is not let pass never changes held replicas, whatever else the update does.
    #[test]
    fn no_update_changes_held_replicas_unseen(
        changes in vec((proptest::sample::select(vec![
            "/spec/services/decode/scalingAdapter", "/spec/services/decode/scalingAdapter/enabled",
            "/spec/services/decode/multinode", "/spec/services/Frontend", "/metadata",
            "/spec/services/decode",
        ]), json_value()), 0..3),
        replicas in proptest::option::of(-1_i64..4),
    ) {
        let mut new = alpha();
        for (path, value) in changes {
            if let Some(place) = new.pointer_mut(path) {
                *place = value;
            }
        }
        if let Some(decode) = new.pointer_mut("/spec/services/decode").and_then(Value::as_object_mut) {
            decode.insert("replicas".to_owned(), json!(replicas));
        }
        let answer = judge(Some(&alpha()), &new);
        // What a controller would read, by its own rules.
        let after = new.pointer("/spec/services/decode/replicas").and_then(Value::as_i64).unwrap_or(1);
        if after != 1 {
            prop_assert!(answer.denial.is_some(), "{new}");
        }
    }
}

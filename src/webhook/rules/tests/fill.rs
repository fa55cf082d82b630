//! What is filled in.

use super::*;

fn filled(old: Option<&Value>, new: &Value, rules: &Rules) -> Value {
    let Door::Validate(subject) = door(new) else { panic!("a validating door") };
    let answer = answer(Door::Fill(subject), &request(old, new), rules);
    assert_eq!((&answer.denial, answer.warnings.len()), (&None, 0));
    let once = applied(new.clone(), &answer.patch);
    let again = super::answer(Door::Fill(subject), &request(old, &once), rules);
    assert_eq!(again.patch, [], "twice is once: {once}");
    once
}

fn version(version: &str) -> Rules {
    Rules { dynamo_version: Some(version.to_owned()), ..rules() }
}

#[test]
fn replicas_left_out_become_one_and_zero_stays_zero() {
    let services = json!({"spec": {"services": {
        "Frontend": {"replicas": null}, "decode": {"replicas": null}, "a/b~c": {}, "off": {"replicas": 0}
    }}});
    let mut graph = with(alpha(), &services);
    graph["spec"]["services"]["nothing"] = Value::Null;
    let services = filled(None, &graph, &rules())["spec"]["services"].clone();
    let counts: Vec<_> = ["Frontend", "decode", "a/b~c", "off", "nothing"]
        .map(|name| services[name]["replicas"].as_i64().unwrap())
        .into();
    assert_eq!(counts, [1, 1, 1, 0, 1]);
    assert_eq!(services["decode"]["subComponentType"], "decode", "the rest stays");

    let mut graph = beta();
    graph["spec"]["components"][1].as_object_mut().unwrap().remove("replicas");
    let graph = filled(None, &graph, &rules());
    assert_eq!(graph["spec"]["components"][1]["replicas"], 1);
    assert_eq!(graph["spec"]["components"][0]["replicas"], 2);
}

#[test]
fn replicas_left_to_the_adapter_keep_their_count_in_an_update() {
    let scaled = with(alpha(), &decode(json!({"replicas": 6})));
    let silent = with(alpha(), &decode(json!({"replicas": null})));
    let updated = filled(Some(&scaled), &silent, &rules());
    assert_eq!(updated["spec"]["services"]["decode"]["replicas"], 6);
    assert_eq!(
        judge(Some(&scaled), &updated),
        Answer::pass(),
        "so that the guard has no objection"
    );
    // Where no adapter holds them, left out means one.
    let free = |replicas: Value| {
        with(alpha(), &decode(json!({"replicas": replicas, "scalingAdapter": null})))
    };
    let updated = filled(Some(&free(json!(6))), &free(Value::Null), &rules());
    assert_eq!(updated["spec"]["services"]["decode"]["replicas"], 1);
    // Handing them over and leaving them out at once changes no count.
    let updated = filled(Some(&free(json!(6))), &silent, &rules());
    assert_eq!(updated["spec"]["services"]["decode"]["replicas"], 6);
    assert_eq!(judge(Some(&free(json!(6))), &updated), Answer::pass());
    // Taking the adapter away is no way to carry its count along unseen.
    let updated = filled(Some(&scaled), &free(Value::Null), &rules());
    assert_eq!(updated["spec"]["services"]["decode"]["replicas"], 1);
    assert!(message(&judge(Some(&scaled), &updated)).contains("cannot be modified directly"));
}

#[test]
fn a_new_graph_is_stamped_with_the_release_where_one_is_configured() {
    let key = "nvidia.com/dynamo-operator-origin-version";
    let stamp = |object: &Value| {
        filled(None, object, &version("0.9.0"))["metadata"]["annotations"][key].clone()
    };
    assert_eq!(stamp(&alpha()), "0.9.0");
    let other = with(alpha(), &json!({"metadata": {"annotations": {"a": "b"}}}));
    let stamped = filled(None, &other, &version("0.9.0"));
    assert_eq!(stamped["metadata"]["annotations"], json!({"a": "b", key: "0.9.0"}));
    let old = with(alpha(), &json!({"metadata": {"annotations": {key: "0.8.1"}}}));
    assert_eq!(stamp(&old), "0.8.1", "who stamped it first was right");
    assert_eq!(filled(None, &alpha(), &rules()), alpha());
    assert_eq!(filled(Some(&alpha()), &alpha(), &version("0.9.0")), alpha());
}

#[test]
fn a_new_request_of_v1beta1_gets_its_defaults() {
    let object = json!({
        "apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "r"}, "spec": {"model": "m"}
    });
    assert_eq!(
        filled(None, &object, &version("1.0.2"))["spec"],
        json!({
            "model": "m", "backend": "auto", "searchStrategy": "rapid", "autoApply": true,
            "image": "nvcr.io/nvidia/ai-dynamo/dynamo-planner:1.0.2"
        })
    );
    let without = filled(None, &object, &rules());
    assert!(without["spec"].get("image").is_none());
    let said =
        json!({"backend": "vllm", "searchStrategy": "thorough", "autoApply": false, "image": "i"});
    let said = with(object.clone(), &json!({"spec": said}));
    assert_eq!(filled(None, &said, &version("1.0.2")), said);
    assert_eq!(filled(Some(&object), &object, &version("1.0.2")), object, "only a new one");
    let alpha = with(object, &json!({"apiVersion": "nvidia.com/v1alpha1"}));
    assert_eq!(filled(None, &alpha, &version("1.0.2")), alpha, "v1alpha1 has none");
}

//! The replica guard.

use std::collections::BTreeSet;

use super::*;
use crate::spec::StockIdentities;

const OPERATOR: &str = "system:serviceaccount:ops:sla-planner";

/// The guide's own example, with its own words.
const GUIDE: &str = "spec.services[decode].replicas cannot be modified directly when scaling adapter \
                     is enabled; use 'kubectl scale dgdsa/sglang-agg-decode --replicas=3' or update \
                     the DynamoGraphDeploymentScalingAdapter instead";

fn replicas(count: impl Into<Value>) -> Value {
    with(alpha(), &decode(json!({"replicas": count.into()})))
}

fn adapter(object: Value, adapter: &Value) -> Value {
    with(object, &decode(json!({"scalingAdapter": adapter})))
}

fn judged_as(user: Option<&str>, rules: &Rules, old: &Value, new: &Value) -> Answer {
    let mut request = request(Some(old), new);
    request.user = user.map(str::to_owned);
    answer(door(new), &request, rules)
}

#[test]
fn a_direct_edit_is_refused_in_the_words_of_the_guide() {
    let answer = judge(Some(&alpha()), &replicas(3));
    let denial = answer.denial.unwrap();
    assert_eq!((denial.code, denial.label), (403, "replicas"));
    assert_eq!(denial.message, GUIDE);
}

#[test]
fn or_in_those_of_the_code() {
    let rules = Rules { wording: Wording::Code, ..rules() };
    assert_eq!(
        message(&judged_as(Some(ADA), &rules, &alpha(), &replicas(3))),
        "spec.services[decode].replicas cannot be modified directly when scaling adapter is enabled; \
         scale or update the related DynamoGraphDeploymentScalingAdapter instead"
    );
}

#[test]
fn what_is_no_change_of_held_replicas_passes() {
    for (what, old, new) in [
        ("no change", alpha(), alpha()),
        ("none said is one", replicas(Value::Null), replicas(1)),
        ("one is none said", replicas(1), replicas(Value::Null)),
        (
            "no adapter",
            alpha(),
            with(alpha(), &json!({"spec": {"services": {"Frontend": {"replicas": 9}}}})),
        ),
        ("switched off alone", alpha(), adapter(alpha(), &json!({"enabled": false}))),
        ("taken away alone", alpha(), adapter(alpha(), &Value::Null)),
        ("switched on alone", adapter(alpha(), &Value::Null), alpha()),
        (
            "off before and after",
            adapter(alpha(), &json!({"enabled": false})),
            adapter(replicas(5), &json!({"enabled": false})),
        ),
    ] {
        assert_eq!(judge(Some(&old), &new), Answer::pass(), "{what}");
    }
    assert_eq!(judge(None, &replicas(7)), Answer::pass(), "a creation says with how many to begin");
}

#[test]
fn the_adapter_cannot_be_switched_off_to_get_past_the_guard() {
    for off in [json!({"enabled": false}), Value::Null, json!({"enabled": null})] {
        let answer = judge(Some(&alpha()), &adapter(replicas(3), &off));
        assert_eq!(
            message(&answer),
            format!(
                "{GUIDE}; to take the replicas over, switch the adapter off first, in an update of its \
                 own"
            ),
            "{off}"
        );
    }
    // The null of a whole service takes its adapter away too.
    let mut emptied = alpha();
    emptied["spec"]["services"]["decode"] = Value::Null;
    let old = replicas(3);
    assert!(message(&judge(Some(&old), &emptied)).contains("--replicas=1'"));
}

#[test]
fn nor_switched_on_with_other_replicas() {
    let off = adapter(alpha(), &Value::Null);
    assert_eq!(
        message(&judge(Some(&off), &replicas(3))),
        format!(
            "{GUIDE}; to begin with other replicas, change them first, in an update of their own"
        )
    );
}

#[test]
fn every_service_at_fault_is_told() {
    let both = |f: u32, d: u32| {
        let f = json!({"replicas": f, "scalingAdapter": {"enabled": true}});
        with(alpha(), &json!({"spec": {"services": {"Frontend": f, "decode": {"replicas": d}}}}))
    };
    let answer = judge(Some(&both(1, 1)), &both(2, 3));
    let lines: Vec<&str> = message(&answer).lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("dgdsa/sglang-agg-frontend --replicas=2"), "{}", lines[0]);
    assert_eq!(lines[1], GUIDE);
}

#[test]
fn v1beta1_is_guarded_by_the_presence_of_the_adapter() {
    let replicas = |n: u32, adapter: Value| {
        let mut graph = beta();
        graph["spec"]["components"][1]["replicas"] = json!(n);
        graph["spec"]["components"][1]["scalingAdapter"] = adapter;
        graph
    };
    let guide = GUIDE.replace("services", "components");
    let on = json!({});
    assert_eq!(message(&judge(Some(&beta()), &replicas(3, on.clone()))), guide);
    let off = judge(Some(&beta()), &replicas(3, Value::Null));
    assert!(message(&off).starts_with(&guide), "{}", message(&off));
    let free = |n| replicas(n, Value::Null);
    assert_eq!(judge(Some(&free(1)), &free(3)), Answer::pass());
    // The order of the list means nothing.
    let mut turned = beta();
    turned["spec"]["components"].as_array_mut().unwrap().reverse();
    assert_eq!(judge(Some(&beta()), &turned), Answer::pass());
}

#[test]
fn a_graph_that_is_going_is_left_alone_and_only_the_old_object_says_so() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let old = with(alpha(), &going);
    assert_eq!(judge(Some(&old), &with(replicas(3), &going)), Answer::pass());
    assert_eq!(message(&judge(Some(&alpha()), &with(replicas(3), &going))), GUIDE);
}

#[test]
fn only_exact_names_pass_and_nobody_without_a_name() {
    let identities =
        Identities { exact: BTreeSet::from([OPERATOR.to_owned()]), ..Identities::default() };
    let rules = Rules { identities, ..rules() };
    let passes = |user| judged_as(user, &rules, &alpha(), &replicas(3)) == Answer::pass();
    assert!(passes(Some(OPERATOR)));
    for user in [
        "system:serviceaccount:other:sla-planner",
        "system:serviceaccount:ops:sla-planner2",
        "system:serviceaccount:ops:sla-planner:x",
        "system:serviceaccount:any:planner-serviceaccount",
        "system:serviceaccount:any:x-dynamo-operator-controller-manager",
        "sla-planner",
        "kubernetes-admin",
        "",
    ] {
        assert!(!passes(Some(user)), "{user}");
    }
    assert!(!passes(None), "fail closed");
    // Whoever it is: what may not change may not change.
    let other = with(replicas(3), &json!({"spec": {"backendFramework": "vllm"}}));
    let answer = judged_as(Some(OPERATOR), &rules, &alpha(), &other);
    assert!(message(&answer).starts_with("spec.backendFramework is immutable"));
    assert_eq!(message(&answer).lines().count(), 1);
}

#[test]
fn our_own_name_passes_from_when_it_is_learnt() {
    let (own, told) = watch::channel(None);
    let identities = Identities { own: told.into(), ..Identities::default() };
    let rules = Rules { identities, ..rules() };
    let passes = |user| judged_as(user, &rules, &alpha(), &replicas(3)) == Answer::pass();
    for user in [Some(OPERATOR), Some(""), None] {
        assert!(!passes(user), "nobody is known yet: {user:?}");
    }
    own.send_replace(Some(OPERATOR.to_owned()));
    assert!(passes(Some(OPERATOR)) && !passes(Some(ADA)) && !passes(Some("")) && !passes(None));
}

#[test]
fn the_stock_identities_are_those_of_dynamo_and_off_by_default() {
    let planner = "system:serviceaccount:any:planner-serviceaccount";
    let prefixed = "system:serviceaccount:any:my-planner-serviceaccount";
    let operator = "system:serviceaccount:any:dynamo-platform-dynamo-operator-controller-manager";
    // Helm's short form of the name does not have the suffix (its issue 7656): neither passes here.
    let short = "system:serviceaccount:any:dynamo-operator-controller-manager";
    let fake = "oidc:planner-serviceaccount";
    let five = "system:serviceaccount:any:a:planner-serviceaccount";
    for (stock, allowed) in [
        (StockIdentities::None, vec![]),
        (StockIdentities::Name, vec![planner]),
        (StockIdentities::Suffix, vec![planner, prefixed, operator]),
    ] {
        let identities = Identities { stock, ..Identities::default() };
        for user in [planner, prefixed, operator, short, fake, five] {
            assert_eq!(identities.allow(Some(user)), allowed.contains(&user), "{stock:?} {user}");
        }
    }
}

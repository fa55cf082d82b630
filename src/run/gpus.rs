//! The GPUs of one replica, of which three may know: the configuration, the graph, the profile.

use crate::units::{Gpus, Role};

/// What is reckoned with: what the user configured, else what the graph gives a replica, else what
/// the profile was measured on. One where nobody says.
pub(super) fn of(configured: Option<Gpus>, told: Option<Gpus>, profile: Option<Gpus>) -> Gpus {
    configured.or(told).or(profile).unwrap_or(Gpus::new(1))
}

/// What there is to say where what the graph gives a replica is not what was configured, or not what
/// the profile was measured on.
pub(super) fn differ(
    role: Role,
    configured: Option<Gpus>,
    told: Gpus,
    profile: Option<Gpus>,
) -> Option<String> {
    match (configured, profile) {
        (Some(ours), _) if ours != told => Some(format!(
            "{role}: the DGD gives a replica {told} GPUs, but `gpus_per_replica` says {ours}, and \
             {ours} is reckoned with"
        )),
        (None, Some(measured)) if measured != told => Some(format!(
            "{role}: the DGD gives a replica {told} GPUs, and {told} is reckoned with; the profile \
             was measured on {measured}, so that its latencies may not be those of this pool"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_graph_gives_a_replica_outranks_the_profile_and_a_difference_is_said() {
        let g = |n| Some(Gpus::new(n));
        assert_eq!(of(None, g(4), g(2)), Gpus::new(4));
        assert_eq!(of(None, None, g(2)), Gpus::new(2));
        assert_eq!(of(g(8), g(4), g(2)), Gpus::new(8));
        assert_eq!(of(None, None, None), Gpus::new(1));
        let said = |ours, profile| differ(Role::Decode, ours, Gpus::new(4), profile);
        assert!(said(None, g(2)).unwrap().contains("4 is reckoned with"));
        assert!(said(g(8), g(4)).unwrap().contains("8 is reckoned with"));
        assert_eq!(said(None, g(4)), None);
        assert_eq!(said(g(4), g(2)), None);
    }
}

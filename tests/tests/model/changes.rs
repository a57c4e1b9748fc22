//! Successive policies on the same maps: an entry cached under one policy has no effect under the next.

use firewall_common::fast_path;

use crate::comparison::Comparison;
use crate::frames::Frames;
use crate::policies::{answered, blocked, guarded, two_on_one_address};
use crate::policy::{Database, Endpoint, Owner, Policy};

const FRAMES: usize = 2_000;
const CHANGES: usize = 24;

#[test]
fn cached_verdict_is_invalidated_when_the_policy_changes() {
    for policy in [two_on_one_address(), guarded(), answered()] {
        let changed = [
            policy.clone(),
            other_guards(&policy),
            exchanged(&policy, |databases| databases.rotate_left(1)),
            exchanged(&policy, |databases| databases.iter_mut().for_each(|one| one.monitor = true)),
            exchanged(&policy, |databases| databases.iter_mut().for_each(|one| one.allow.clear())),
            moved(&policy),
            blocked(policy.clone()),
        ];
        let mut comparison = Comparison::new(&policy, fast_path::ALL);
        for (turn, policy) in changed.iter().cycle().take(CHANGES).enumerate() {
            comparison.put_in_force(policy);
            // The same frames in each turn.
            for frame in Frames::new(1, &changed[0]).take(FRAMES) {
                comparison.compare(&frame, None, &format!("policy {turn}"));
            }
        }
    }
}

fn exchanged(policy: &Policy, exchange: impl Fn(&mut Vec<Database>)) -> Policy {
    let mut policy = policy.clone();
    exchange(&mut policy.databases);
    policy
}

/// Exchanges the two kinds of guarded ports.
fn other_guards(policy: &Policy) -> Policy {
    Policy {
        guarded: policy.new_connections.clone(),
        new_connections: policy.guarded.clone(),
        ..policy.clone()
    }
}

/// Exchanges the endpoints of the first two databases.
fn moved(policy: &Policy) -> Policy {
    let exchange = |endpoint: &Endpoint| Endpoint {
        owner: match endpoint.owner {
            Owner::Database(0) => Owner::Database(1),
            Owner::Database(1) => Owner::Database(0),
            other @ (Owner::Database(_) | Owner::Closed) => other,
        },
        ..*endpoint
    };
    Policy { endpoints: policy.endpoints.iter().map(exchange).collect(), ..policy.clone() }
}

//! Requirements on the observations of a case.

use crate::cases::{Case, Load};
use crate::observed::Observed;

/// The observations of one case.
pub struct Outcome {
    pub case: Case,
    /// Without the agent.
    pub control: Observed,
    /// With the agent, when the rule set denies the tools' sources, and when it allows them.
    pub denied: Observed,
    pub allowed: Observed,
}

impl Outcome {
    /// Returns the requirements that do not hold.
    pub fn failures(&self) -> Vec<String> {
        let Self { case, control, denied, allowed } = self;
        let mut failures = Vec::new();
        let mut require = |holds: bool, what: &str, shown: String| {
            if !holds {
                failures.push(format!("{}, {}: {what}: {shown}", case.tool, case.mode));
            }
        };
        let is_flood = case.load == Load::Flood;
        // The control: the tool works, and its frames reach the host's network stack.
        let reached = if is_flood { control.received } else { control.aimed_passed };
        require(control.sent > 0, "sends no frame", control.output.clone());
        require(case.is_unaimed || reached > 0, "reaches nothing without the agent", control.output.clone());
        let aimed = control.aimed.max(denied.aimed);
        require(!case.is_unaimed || aimed == 0, "marked as unaimed, has frames to refuse", aimed.to_string());
        for (name, seen) in [("denied", denied), ("allowed", allowed)] {
            require(seen.leaks == 0, &format!("{name}: passed wrongly"), format!("{:?}", seen.leaked));
            let delivered = seen.delivered_of_denied;
            require(
                delivered == 0,
                &format!("{name}: delivered from a denied source"),
                delivered.to_string(),
            );
            let (passed, passing) = (seen.passed, seen.passing);
            if is_flood {
                let (counted, sent) = (seen.counted.packets(), seen.sent);
                require(counted == sent, &format!("{name}: counted"), format!("{counted} of {sent}"));
                let (received, refused) = (seen.received, seen.refused());
                let is_bounded = received + refused <= sent;
                require(
                    is_bounded,
                    &format!("{name}: received beside {refused} refused"),
                    received.to_string(),
                );
            } else {
                let right = passed == passing;
                require(right, &format!("{name}: passed"), format!("{passed} instead of {passing}"));
                let (counted, expected) = (&seen.counted, &seen.expected);
                let agree = counted == expected;
                require(agree, &format!("{name}: counted"), format!("{counted:?} instead of {expected:?}"));
            }
        }
        require(case.is_unaimed || denied.refused() > 0, "denied: refused nothing", denied.output.clone());
        let is_deliverable = control.delivered_of_allowed > 0 && allowed.aimed_passed > 0;
        let is_delivered = !is_deliverable || allowed.delivered_of_allowed > 0;
        require(is_delivered, "allowed: delivered nothing", allowed.output.clone());
        failures
    }
}

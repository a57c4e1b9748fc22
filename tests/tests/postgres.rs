//! PostgreSQL end to end: the scenario of the demo, asserted.

use firewall_tests::demo::{Moment, play};
use firewall_tests::lab::agent_binary;

#[test]
fn every_step_of_the_demo_comes_out_as_stated() {
    let mut steps = 0;
    let played = play(&agent_binary().unwrap(), &mut |moment| {
        println!("{moment:#?}");
        steps += u32::from(matches!(moment, Moment::CameOut(..)));
    });
    played.unwrap();
    assert_eq!(steps, 11, "a step is missing");
}

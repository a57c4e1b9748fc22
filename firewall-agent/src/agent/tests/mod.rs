//! Tests of the agent as a whole, on simulated hosts.

mod histories;

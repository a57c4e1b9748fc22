//! Counters of the packets judged at a socket, and the records of those refused there.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::{bpf_get_prandom_u32, bpf_get_smp_processor_id},
};
use firewall_common::{
    CpuState, Denial, Denials, NO_RULE, Reason, Sampler, SessionTally, SocketDenial, SocketTraffic, Tally,
    fast_path, packet::Flow,
};

use crate::{
    accelerations::is_on,
    arrival::Arrival,
    clock::coarse_time,
    decide::Decision,
    maps::{SOCKET_DENIALS, SOCKET_SAMPLER, SOCKET_TRAFFIC, state_of_this_cpu},
    sampler,
};

/// Counts a judged packet, and records it when it was refused and is due.
///
/// The verdict goes through memory of a map: for the verifier it becomes one unknown number, and it does not follow each
/// verdict on its own.
#[inline(always)]
pub fn count(decision: Decision, flow: &Flow, arrival: &Arrival) {
    let Some(sampler) = SOCKET_SAMPLER.get_ptr_mut(0) else { return };
    // SAFETY: a per-CPU value of this CPU, which runs one program of a socket at a time.
    let sampler = unsafe { &mut *sampler };
    let answer = &raw mut sampler.handover.answer;
    // SAFETY: a field of the sampler.
    let answer = unsafe {
        answer.write_volatile(decision.answer());
        answer.read_volatile()
    };
    let is_allowed = answer >> 24 == Reason::Allowed as u32;
    tally(if is_allowed { Reason::Allowed.answer(NO_RULE) } else { answer }, arrival);
    // Of a database in monitor mode XDP records the packets.
    let is_refused = !is_allowed && answer >> 24 != Reason::WouldDeny as u32;
    if is_refused && !is_on(fast_path::UNRECORDED) {
        record(answer, flow, arrival, sampler);
    }
}

/// Counts a packet of an admitted session in the state of this CPU, which is at hand. It moves to the table when a packet
/// comes from another interface.
#[inline(always)]
pub fn count_admitted(arrival: &Arrival) {
    // Where one run may interrupt another on its CPU.
    if is_on(fast_path::UNRECORDED) {
        return tally(Reason::Allowed.answer(NO_RULE), arrival);
    }
    let Some(CpuState { sessions, .. }) = state_of_this_cpu() else { return };
    let key = SocketTraffic { interface: arrival.interface, answer: Reason::Allowed.answer(NO_RULE) };
    if sessions.key != key {
        if sessions.tally.packets != 0 {
            add(sessions.key, sessions.tally);
        }
        *sessions = SessionTally { key, tally: Tally::default() };
    }
    sessions.tally += Tally { packets: 1, bytes: arrival.length as u64 };
}

#[inline(always)]
fn tally(answer: u32, arrival: &Arrival) {
    let key = SocketTraffic { interface: arrival.interface, answer };
    add(key, Tally { packets: 1, bytes: arrival.length as u64 });
}

#[inline(always)]
fn add(key: SocketTraffic, packets: Tally) {
    match SOCKET_TRAFFIC.get_ptr_mut(key) {
        // SAFETY: a per-CPU value of this CPU, which runs one program of a socket at a time.
        Some(tally) => unsafe { *tally += packets },
        // The value of every other CPU starts at 0.
        None => _ = SOCKET_TRAFFIC.insert(key, packets, u64::from(BPF_ANY)),
    }
}

/// Samples a refused packet, and records it when it is due.
#[inline(always)]
fn record(answer: u32, flow: &Flow, arrival: &Arrival, sampler: &mut Sampler) {
    let Some(CpuState { tick, .. }) = state_of_this_cpu() else { return };
    let now = coarse_time(tick);
    // SAFETY: a helper without arguments.
    let weight = sampler::weigh(sampler, now, || unsafe { bpf_get_prandom_u32() });
    if weight == 0 {
        return;
    }
    let Flow { source, destination, port, protocol, family } = *flow;
    let (counter, reason, class) = (answer & 0x00ff_ffff, (answer >> 24) as u8, arrival.class(flow));
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u16;
    let denial = Denial { source, destination, port, protocol, family, counter, reason, class, cpu };
    let key = SocketDenial { denial, interface: arrival.interface };
    if insert(&key, weight, sampler.rate.tick) {
        sampler.totals.recorded += weight;
        sampler.totals.records += 1;
    } else {
        sampler.totals.unrecorded += weight;
    }
}

/// Returns whether the table accepted the record.
#[inline(always)]
fn insert(key: &SocketDenial, packets: u64, now: u64) -> bool {
    if let Some(entry) = SOCKET_DENIALS.get_ptr_mut(key) {
        // SAFETY: the entry stays memory of the table until this program run ends, and only this CPU writes to it.
        unsafe {
            (*entry).packets += packets;
            (*entry).last_seen = now;
        }
        return true;
    }
    let entry = Denials { packets, first_seen: now, last_seen: now };
    SOCKET_DENIALS.insert(key, entry, u64::from(BPF_NOEXIST)).is_ok()
}

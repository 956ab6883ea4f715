//! A whole cluster in one process and under one seed: name server, brokers, replication, log and
//! clients as they are shipped, on simulated disks, networks and clocks.
//!
//! From a seed come the [`parameters`] of a run and everything that happens in it. [`run`] plays it:
//! first with [`faults`], then without, when the cluster has to recover within bounds. What clients
//! were told is kept in [`history`] and judged by the [`oracle`]; what must always hold has a file
//! each in [`invariants`]. [`sweep`] runs many seeds, a process each, and keeps the [`record`] of those
//! that fail; [`scenarios`] tell single stories.
//!
//! Invariant: a run is a function of its seed. Nothing here or in what runs here asks the machine for
//! time, randomness or order; see [`entropy`] for what had to be closed, and [`trace`] for how it
//! would be noticed.

#[cfg(not(madsim))]
compile_error!(
    "the simulation must be compiled with --cfg madsim: run `cargo sim` in the project's root, or \
     cargo in simulation/, with no RUSTFLAGS of your own"
);

#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod dice;
#[cfg(madsim)]
pub mod entropy;
#[cfg(madsim)]
pub mod faults;
#[cfg(madsim)]
pub mod flaws;
#[cfg(madsim)]
pub mod history;
#[cfg(madsim)]
pub mod invariants;
#[cfg(madsim)]
pub mod machine;
#[cfg(madsim)]
pub mod memory;
#[cfg(madsim)]
pub mod network;
#[cfg(madsim)]
pub mod oracle;
#[cfg(madsim)]
pub mod parameters;
#[cfg(madsim)]
pub mod record;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod scenarios;
#[cfg(madsim)]
pub mod sweep;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod workload;

//! Servers that stop: their port stays open, and nobody answers.

use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

pub(crate) fn pause(child: &Child) {
    kill_process(Pid::from_child(child), Signal::STOP).expect("it runs");
}

pub(crate) fn resume(child: &Child) {
    kill_process(Pid::from_child(child), Signal::CONT).expect("it is there");
}

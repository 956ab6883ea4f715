//! What goes wrong with messages between members, one by one.
//!
//! Invariant: as for all faults, it is over after a while; then nothing is upset or held back.

use raftmq::mischief::{self, Mischief};

use super::Kind;
use super::nemesis::Nemesis;
use crate::dice::Dice;

impl Nemesis {
    pub(super) async fn messages_fail(&mut self, kind: Kind, dice: &mut Dice, long_ms: u64) {
        match kind {
            Kind::SlowLink => self.slow_link(dice, long_ms).await,
            Kind::HalfOpen => self.half_open(dice, long_ms).await,
            _ => {
                let permille = dice.pick(&[20, 100, 400]) as u32;
                let mut made = Mischief::default();
                let what = match kind {
                    Kind::Repeated => &mut made.repeated_permille,
                    Kind::Reordered => &mut made.reordered_permille,
                    _ => &mut made.lost_permille,
                };
                *what = permille;
                let name = kind.name();
                let trace = self.cluster.trace.clone();
                trace.tell(format_args!("of 1000 messages between members {permille} are {name}"));
                mischief::set(made);
                self.wait_ms(long_ms).await;
                mischief::set(Mischief::default());
                trace.tell(format_args!("messages between members arrive again"));
            }
        }
    }

    async fn slow_link(&mut self, dice: &mut Dice, long_ms: u64) {
        let (from, to) = self.two(dice);
        let slow_ms = dice.pick(&[10, 50, 200, 1_000]);
        let trace = self.cluster.trace.clone();
        trace.tell(format_args!("messages from n{from} to n{to} take up to {slow_ms} ms more"));
        let (node, member) = (self.node(from), to as u64 + 1);
        mischief::slow(node, member, slow_ms);
        self.wait_ms(long_ms).await;
        mischief::slow(node, member, 0);
        trace.tell(format_args!("messages from n{from} to n{to} are as fast as before"));
    }

    /// The victim may be back before anybody has noticed that it was gone.
    async fn half_open(&mut self, dice: &mut Dice, long_ms: u64) {
        let victim = self.leader_or_any(dice);
        mischief::hide_ends(true);
        self.cluster.lose_power(victim);
        self.wait_ms(dice.between(0, long_ms)).await;
        self.cluster.start_again(victim);
        self.wait_ms(dice.between(0, long_ms)).await;
        mischief::hide_ends(false);
    }
}

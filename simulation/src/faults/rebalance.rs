//! Consumers come and go, so that their group shares its queues out anew.
//!
//! Invariant: whoever was taken away comes back; what was acknowledged is delivered all the same, and no
//! progress covers what nobody was given.

use super::Kind;
use super::nemesis::Nemesis;
use crate::dice::Dice;

impl Nemesis {
    pub(super) async fn rebalance(&mut self, dice: &mut Dice, long_ms: u64) {
        let consumers = self.consumers.clone();
        let victim = dice.below(consumers.count());
        let struck = match dice.below(4) {
            0 => consumers.stop(victim).await,
            1 => consumers.pause(victim),
            _ => consumers.kill(victim),
        };
        if !struck {
            return;
        }
        self.counts.struck(Kind::Rebalance);
        self.wait_ms(long_ms).await;
        consumers.resume(victim);
        consumers.start(victim);
    }
}

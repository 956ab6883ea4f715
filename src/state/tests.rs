//! The state as a function of its log.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use raft_log::Position;

use super::*;
use crate::protocol::group::SubscriptionGroupConfig;
use crate::protocol::topic::TopicConfig;

fn batch(commands: Vec<Command>, store_timestamp_ms: i64) -> CommandBatch {
    CommandBatch { commands, store_timestamp_ms }
}

fn run(topic: &str, queue_id: i32, first_offset: i64, count: u32) -> QueueRun {
    QueueRun { topic: Arc::from(topic), queue_id, first_offset, count }
}

fn offset(group: &str, topic: &str, queue_id: i32, offset: i64) -> CommittedOffset {
    CommittedOffset { group: group.to_owned(), topic: topic.to_owned(), queue_id, offset }
}

fn commit(group: &str, topic: &str, queue_id: i32, committed: i64) -> Command {
    Command::commit_offsets(vec![offset(group, topic, queue_id, committed)])
}

fn queue(topic: &str, queue_id: i32) -> QueueName {
    QueueName { topic: topic.to_owned(), queue_id }
}

fn with_topic(topic: &str) -> State {
    let mut state = State::default();
    let create = Command::create_topic_if_absent(&TopicConfig::new(topic, 4, 6));
    state.apply(Position(8), &batch(vec![create], 100), &[]);
    state
}

#[test]
fn creating_a_topic_that_exists_changes_nothing() {
    let mut state = with_topic("t");
    let before = state.snapshot();
    let again = Command::create_topic_if_absent(&TopicConfig::new("t", 9, 7));
    let effects = state.apply(Position(80), &batch(vec![again], 100), &[]);
    assert_eq!(effects, Effects::default());
    assert_eq!(state.snapshot(), before);
}

#[test]
fn upserting_keeps_queues_and_position_and_counts_changes() {
    let mut state = with_topic("t");
    state.apply(Position(80), &batch(vec![], 150), &[run("t", 1, 0, 3)]);
    let wider = TopicConfig::new("t", 8, 6);
    let effects = state.apply(Position(160), &batch(vec![Command::upsert_topic(&wider)], 170), &[]);
    assert_eq!(effects.topics_changed, [Arc::from("t")]);
    let topic = state.topics().get("t").unwrap();
    assert_eq!((topic.created_position, topic.queues.next(1)), (Position(8), 3));
    assert_eq!(topic.config.write_queue_nums, 8);
    let version = state.topics().version();
    assert_eq!((version.counter, version.timestamp), (2, 170));
}

#[test]
fn a_topic_created_again_begins_anew_without_its_former_progress() {
    let mut state = with_topic("t");
    state.apply(Position(80), &batch(vec![commit("g", "t", 0, 2)], 100), &[run("t", 0, 0, 3)]);
    let commands = vec![
        Command::delete_topic("t"),
        commit("g", "t", 0, 3),
        Command::create_topic_if_absent(&TopicConfig::new("t", 4, 6)),
    ];
    state.apply(Position(160), &batch(commands, 100), &[run("t", 0, 0, 1)]);
    let topic = state.topics().get("t").unwrap();
    assert_eq!((topic.created_position, topic.queues.next(0)), (Position(160), 1));
    assert_eq!(state.offsets().get("g", "t", 0), None);
}

#[test]
fn lower_offsets_are_taken_and_group_deletion_may_clean() {
    let mut state = with_topic("t");
    let group = SubscriptionGroupConfig::new("g");
    let commands =
        vec![Command::upsert_group(&group), commit("g", "t", 0, 9), commit("g", "t", 0, 4)];
    let effects = state.apply(Position(80), &batch(commands, 100), &[]);
    assert_eq!(effects.groups_changed, [Arc::from("g")]);
    assert_eq!(state.offsets().get("g", "t", 0), Some(4));
    assert_eq!(state.offsets().groups_of("t").count(), 1);
    state.apply(Position(90), &batch(vec![Command::delete_group("g", false)], 100), &[]);
    assert_eq!((state.groups().get("g"), state.offsets().get("g", "t", 0)), (None, Some(4)));
    state.apply(Position(99), &batch(vec![Command::delete_group("g", true)], 100), &[]);
    assert_eq!(state.offsets().iter().count(), 0);
}

#[test]
fn a_reset_stands_until_the_group_pulls_from_there() {
    let at = |at| offset("g", "t", 0, at);
    let mut state = with_topic("t");
    let apply = |state: &mut State, command| {
        state.apply(Position(80), &batch(vec![command], 100), &[]);
    };
    apply(&mut state, commit("g", "t", 0, 9));
    apply(&mut state, Command::reset_offsets(vec![at(2)]));
    apply(&mut state, commit("g", "t", 0, 10));
    assert_eq!(state.offsets().get("g", "t", 0), Some(2), "it consumed that before it knew");
    assert_eq!(state.offsets().reset("g", "t", 0), Some(2));
    apply(&mut state, Command::reset_taken(at(3)));
    assert_eq!(state.offsets().reset("g", "t", 0), Some(2), "of another reset");
    let mut state = State::restore(&state.snapshot()).unwrap();
    apply(&mut state, Command::reset_taken(at(2)));
    apply(&mut state, commit("g", "t", 0, 4));
    assert_eq!(state.offsets().get("g", "t", 0), Some(4));
    apply(&mut state, Command::reset_offsets(vec![at(1)]));
    apply(&mut state, Command::delete_topic("t"));
    assert_eq!(state.offsets().reset("g", "t", 0), None);
}

#[test]
fn retention_never_goes_back() {
    let mut state = State::default();
    let retain = |state: &mut State, position| {
        let command = Command::retain(Position(position));
        state.apply(Position(500), &batch(vec![command], 1), &[]).retain
    };
    assert_eq!(retain(&mut state, 100), Some(Position(100)));
    assert_eq!(retain(&mut state, 64), None);
    assert_eq!(state.min_position(), Position(100));
}

#[test]
#[should_panic(expected = "but 0 is next")]
fn a_gap_in_a_queue_is_never_applied() {
    with_topic("t").apply(Position(80), &batch(vec![], 100), &[run("t", 0, 1, 1)]);
}

#[test]
fn a_delay_level_moves_on_and_is_kept() {
    let mut state = with_topic("t");
    assert_eq!(state.schedule().next(2), 0);
    let before = state.snapshot();
    let advance = |state: &mut State, from, until| {
        let command = Command::advance_schedule(2, from, until);
        state.apply(Position(80), &batch(vec![command], 100), &[]);
    };
    advance(&mut state, 0, 5);
    advance(&mut state, 5, 6);
    assert_eq!([0, 1, 2, 3].map(|queue_id| state.schedule().next(queue_id)), [0, 0, 6, 0]);
    let restored = State::restore(&state.snapshot()).unwrap();
    assert_eq!(restored.schedule(), state.schedule());
    assert_ne!(state.snapshot(), before);
    // What was written before levels were kept opens as: nothing was delivered.
    assert_eq!(State::restore(&before).unwrap().schedule(), &Schedule::default());
}

#[test]
#[should_panic(expected = "but 5 is next")]
fn nothing_is_delivered_twice() {
    let mut state = State::default();
    for (from, until) in [(0, 5), (4, 6)] {
        let command = Command::advance_schedule(0, from, until);
        state.apply(Position(8), &batch(vec![command], 100), &[]);
    }
}

#[test]
fn a_snapshot_of_another_format_is_refused() {
    assert_eq!(State::restore(&[]).unwrap_err(), SnapshotError::Format(0));
    assert!(matches!(State::restore(&[0xff; 9]), Err(SnapshotError::Decode(_))));
}

#[derive(Debug, Clone)]
enum Step {
    Command(Command),
    Messages { topic: String, queue_id: i32, count: u32 },
    Deliver { queue_id: i32, count: i64 },
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(vec!["a", "b", "%RETRY%g"]);
    prop_oneof![
        (name(), 1..9).prop_map(|(t, q)| Command::upsert_topic(&TopicConfig::new(t, q, 6)).into()),
        (name(), 1..9)
            .prop_map(|(t, q)| Command::create_topic_if_absent(&TopicConfig::new(t, q, 6)).into()),
        name().prop_map(|t| Command::delete_topic(t).into()),
        name().prop_map(|g| Command::upsert_group(&SubscriptionGroupConfig::new(g)).into()),
        (name(), any::<bool>()).prop_map(|(g, clean)| Command::delete_group(g, clean).into()),
        (name(), name(), 0..4, 0..99i64).prop_map(|(g, t, q, o)| commit(g, t, q, o).into()),
        (name(), name(), 0..4, 0..9i64)
            .prop_map(|(g, t, q, o)| Command::reset_offsets(vec![offset(g, t, q, o)]).into()),
        (name(), name(), 0..4, 0..9i64)
            .prop_map(|(g, t, q, o)| Command::reset_taken(offset(g, t, q, o)).into()),
        (0..9_999u64).prop_map(|p| Command::retain(Position(p)).into()),
        (name(), name(), name(), 0..4)
            .prop_map(|(g, c, t, q)| Command::lock_queues(g, c, vec![queue(t, q)]).into()),
        (name(), name(), name(), 0..4, 1_000..1_060i64)
            .prop_map(|(g, c, t, q, ms)| Command::release_locks(g, c, vec![queue(t, q)], ms).into()),
        (name(), 0..4, 1..5u32).prop_map(|(topic, queue_id, count)| Step::Messages {
            topic: topic.to_owned(),
            queue_id,
            count
        }),
        (0..3, 1..5i64).prop_map(|(queue_id, count)| Step::Deliver { queue_id, count }),
        Just(Step::Checkpoint),
    ]
}

impl From<Command> for Step {
    fn from(command: Command) -> Step {
        Step::Command(command)
    }
}

proptest! {
    #[test]
    fn equal_logs_make_equal_bytes_however_they_are_kept(steps in prop::collection::vec(step(), 0..60)) {
        let (mut state, mut other) = (State::default(), State::default());
        let mut kept: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (i, step) in steps.into_iter().enumerate() {
            let at = Position(i as u64 * 64);
            let (commands, runs) = match step {
                Step::Command(command) => (vec![command], vec![]),
                Step::Messages { topic, queue_id, count } => {
                    let Some(known) = state.topics().get(&topic) else { continue };
                    (vec![], vec![run(&topic, queue_id, known.queues.next(queue_id), count)])
                }
                Step::Deliver { queue_id, count } => {
                    let from = state.schedule().next(queue_id);
                    (vec![Command::advance_schedule(queue_id, from, from + count)], vec![])
                }
                Step::Checkpoint => {
                    for (key, value) in state.take_changes() {
                        match value {
                            Some(value) => drop(kept.insert(key, value)),
                            None => drop(kept.remove(&key)),
                        }
                    }
                    // What was changed since the start, piece by piece, is the whole.
                    let loaded = State::from_entries(kept.clone().into_iter()).unwrap();
                    prop_assert_eq!(loaded.snapshot(), state.snapshot());
                    continue;
                }
            };
            let batch = batch(commands, 1_000 + i as i64);
            let effects = state.apply(at, &batch, &runs);
            // The other member restarts from its snapshot before each entry.
            other = State::restore(&other.snapshot()).unwrap();
            prop_assert_eq!(other.apply(at, &batch, &runs), effects);
        }
        prop_assert_eq!(state.snapshot(), other.snapshot());
        prop_assert_eq!(state.digest(), other.digest());
    }
}

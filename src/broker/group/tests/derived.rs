//! Everything but the log can be lost.

use proptest::prelude::*;

use super::*;
use crate::store::StoreError;
use crate::store::checkpoint::CheckpointStore as _;
use crate::store::log::CommittedLog as _;

/// A node with messages in several queues, extents and segments.
fn filled(messages: usize) -> Node {
    let mut node = Node::new();
    node.create_topic("t");
    node.create_topic("u");
    for i in 0..messages {
        let topic = if i % 3 == 0 { "u" } else { "t" };
        node.now_ms += 1;
        node.send(topic, (i % 4) as i32, &long(&i.to_string()));
    }
    node
}

fn same(a: &Node, b: &Node) {
    assert_eq!(a.group.view.applied(), b.group.view.applied());
    assert_eq!(a.group.view.digest(), b.group.view.digest());
    assert_eq!(a.group.machine_snapshot(), b.group.machine_snapshot());
    assert_eq!(a.visible(), b.visible());
}

impl Group {
    fn machine_snapshot(&self) -> Vec<u8> {
        self.view.with_state(|state| state.snapshot())
    }
}

/// What a power failure leaves of a node: the checkpoint of some time ago, all extents' files.
fn with_checkpoint_of(old: &Node, node: &Node) -> Disk {
    let (log, files) = (node.disk.log.clone(), node.disk.files.clone());
    Disk { log, files, ..old.disk.clone() }
}

#[test]
fn with_everything_derived_deleted_all_comes_back() {
    let node = filled(60);
    assert!(node.disk.files.names().len() > 10);
    let again = Node::start(node.disk.log_only());
    same(&node, &again);
    assert_eq!(node.disk.files.names(), again.disk.files.names(), "the same files");
    for name in node.disk.files.names() {
        assert_eq!(node.disk.files.get(&name), again.disk.files.get(&name), "{name}");
    }
}

#[test]
fn a_restart_reads_no_more_than_its_share_of_the_log() {
    let node = filled(60);
    let (visible, disk) = (node.visible(), node.disk.clone());
    drop(node);
    disk.log.take_scanned_bytes();
    let node = Node::start(disk);
    // An extent that was open, and the entries looked at on the way.
    let scanned = node.disk.log.take_scanned_bytes();
    assert!(scanned < 4 * EXTENT_BYTES as usize, "{scanned} bytes of {}", node.disk.log.tail());
    assert_eq!(node.visible(), visible);
}

#[test]
fn making_all_extents_again_reads_the_log_a_few_times_and_not_once_for_each() {
    let node = filled(60);
    let (visible, disk) = (node.visible(), node.disk.clone());
    drop(node);
    let names = disk.files.names();
    assert!(names.len() > 10);
    names.iter().for_each(|name| disk.files.damage(name, Vec::clear));
    disk.log.take_scanned_bytes();
    let node = Node::start(disk);
    assert_eq!(node.visible(), visible);
    let (scanned, log) = (node.disk.log.take_scanned_bytes() as u64, node.disk.log.tail().0);
    assert!(scanned < 4 * log, "{scanned} bytes read of {log}");
}

#[test]
fn a_restart_without_a_last_checkpoint_replays_and_agrees() {
    let node = filled(60);
    let old = filled(20);
    let again = Node::start(with_checkpoint_of(&old, &node));
    same(&node, &again);
}

#[test]
fn damaged_files_are_made_again() {
    let node = filled(60);
    let (visible, disk) = (node.visible(), node.disk.clone());
    drop(node);
    let names = disk.files.names();
    let good: Vec<_> = names.iter().map(|name| disk.files.get(name)).collect();
    disk.files.damage(&names[1], |file| *file.last_mut().unwrap() ^= 1);
    disk.files.damage(&names[2], |file| file[40] ^= 1);
    disk.files.damage(&names[3], |file| file.truncate(file.len() / 2));
    disk.files.damage(&names[4], Vec::clear);
    disk.files.damage(&names[5], |file| file[200] ^= 0x80);
    let node = Node::start(disk);
    assert_eq!(node.visible(), visible);
    let again: Vec<_> = names.iter().map(|name| node.disk.files.get(name)).collect();
    assert_eq!(again, good);
}

/// Found by the simulation: made again from the entries applied so far, it stayed without the others.
#[test]
fn a_damaged_file_that_replay_is_within_is_made_again_whole() {
    let node = filled(60);
    let old = filled(20);
    let disk = with_checkpoint_of(&old, &node);
    drop(old);
    let bare = Disk { checkpoint: disk.checkpoint.clone(), ..disk.log_only() };
    let number = Node::open(bare).group.view.max_position().0 / EXTENT_BYTES;
    let name = format!("{number:020}.index");
    disk.files.damage(&name, |file| *file.last_mut().unwrap() ^= 1);
    let mut again = Node::open(disk);
    // Somebody reads before the log is replayed.
    let early = again.visible();
    assert!(early.iter().any(|(_, _, (_, max), _)| *max > 0));
    again.replay();
    same(&node, &again);
    assert_eq!(node.disk.files.names(), again.disk.files.names());
}

#[test]
fn files_of_a_tail_that_was_lost_are_not_used() {
    let mut node = filled(30);
    let (kept, kept_visible) = (node.disk.log.last_index(), node.visible());
    let early = filled(30);
    for i in 0..20 {
        node.send("t", 0, &long(&format!("lost {i}")));
    }
    let disk = Disk { checkpoint: early.disk.checkpoint.clone(), ..node.disk.clone() };
    drop((node, early));
    disk.log.truncate_after(kept);
    let mut node = Node::start(disk);
    assert_eq!(node.visible(), kept_visible);
    // Other entries take the place of the lost ones.
    node.term = Term(2);
    for i in 0..20 {
        node.send("u", 1, &format!("other {i}"));
    }
    let again = Node::start(node.disk.log_only());
    same(&node, &again);
}

/// A node with messages up to where a long one goes to the next segment, and a short one does not.
fn almost_full_segment() -> Node {
    let mut node = Node::new();
    node.create_topic("t");
    let segment_of = |position: Position| position.0 / SEGMENT_BYTES;
    let next = |node: &Node, bytes| segment_of(node.disk.log.place(bytes));
    while next(&node, LONG_BYTES) == segment_of(node.disk.log.tail()) {
        node.send("t", 0, &"x".repeat(200));
    }
    assert_eq!(next(&node, LONG_BYTES / 2), segment_of(node.disk.log.tail()));
    node
}

const LONG_BYTES: usize = 2_000;

/// Found by the simulation: the last extent of a segment was closed by a long entry in the next one, which was
/// lost; a short one in its place is in that extent.
#[test]
fn an_extent_that_only_a_lost_entry_closed_is_open_again() {
    let mut node = almost_full_segment();
    let early = almost_full_segment();
    let kept = node.disk.log.last_index();
    node.send("t", 1, &"lost".repeat(LONG_BYTES / 4));
    let last_extent = format!("{:020}.index", SEGMENT_BYTES / EXTENT_BYTES - 1);
    assert!(node.disk.files.names().contains(&last_extent), "it is closed");
    let disk = Disk { checkpoint: early.disk.checkpoint.clone(), ..node.disk.clone() };
    drop((node, early));
    disk.log.truncate_after(kept);
    let mut node = Node::start(disk);
    node.term = Term(2);
    let short = node.send("t", 2, "short");
    assert!(short.first_position < Position(SEGMENT_BYTES), "{short:?}");
    same(&node, &Node::start(node.disk.log_only()));
    node.send("t", 1, &"long".repeat(LONG_BYTES / 4));
    let again = Node::start(node.disk.log_only());
    same(&node, &again);
    assert_eq!(node.disk.files.get(&last_extent), again.disk.files.get(&last_extent));
    same(&node.restart(), &again);
}

#[test]
fn a_checkpoint_ahead_of_the_log_is_wiped() {
    let node = filled(30);
    let mut disk = node.disk.clone();
    drop(node);
    disk.log.truncate_after(LogIndex(10));
    let again = Node::start(disk.log_only());
    disk.log = again.disk.log.clone();
    same(&Node::start(disk), &again);
}

#[test]
fn a_checkpoint_of_a_newer_program_is_refused_and_kept() {
    let node = filled(30);
    let mut disk = node.disk.clone();
    drop(node);
    // The field in which the state says its format.
    let newer = (vec![0], Some(vec![0x48, 2]));
    disk.checkpoint.save(&[newer], LogIndex(10)).unwrap();
    let kept = disk.checkpoint.load();
    let refused = open(options(&disk, Arc::default())).err().unwrap();
    assert!(matches!(refused, StoreError::NewerFormat { .. }), "{refused}");
    assert!(refused.to_string().contains("format 2, this program knows 1"), "{refused}");
    assert_eq!(disk.checkpoint.load(), kept);
    // Deleted, it is made again.
    same(&Node::start(disk.log_only()), &filled(30));
}

#[test]
fn retention_gives_the_same_minimum_everywhere() {
    let mut node = filled(400);
    let boundary = 3 * SEGMENT_BYTES;
    // The state at the boundary, as it is kept when the log passes it.
    let at_boundary = {
        let log = TestLog::new(SEGMENT_BYTES);
        for entry in node.disk.log.entries() {
            if entry.position.0 < boundary {
                log.append(entry.term, entry.payload);
            }
        }
        let copy = Node::start(Disk { log, ..Disk::new() });
        (copy.group.view.applied(), Bytes::from(copy.group.machine_snapshot()))
    };
    node.command(Command::retain(Position(boundary)));
    assert_eq!(node.disk.log.first_position(), Position(boundary));
    let (min, max) = node.bounds("t", 1);
    assert!(0 < min && min < max, "{min}..{max}");
    let oldest = node.disk.files.names()[0].clone();
    assert_eq!(oldest, format!("{:020}.index", boundary / EXTENT_BYTES));
    assert_eq!(node.fetch("t", 1, 0).next_begin_offset, min);

    let mut disk = node.disk.log_only();
    disk.snapshot = Some(at_boundary.clone());
    let rebuilt = Node::start(disk);
    same(&node, &rebuilt);

    // A member that was far behind gets the snapshot, then the log behind it.
    let mut behind = filled(5);
    behind.disk.log.install(at_boundary.0, Position(boundary));
    behind.disk.snapshot = Some(at_boundary.clone());
    let restored = behind.group.machine.restore(at_boundary.0, Position(boundary), &at_boundary.1);
    assert_eq!(restored, Ok(()));
    for entry in node.disk.log.entries() {
        let entry = behind.disk.log.append(entry.term, entry.payload);
        behind.apply(entry, None);
    }
    same(&node, &behind);
    same(&node, &behind.restart());
}

#[test]
fn an_idle_queue_whose_messages_went_is_empty_at_its_maximum() {
    let mut node = Node::new();
    node.create_topic("t");
    node.create_topic("u");
    node.send("u", 0, "soon gone");
    for i in 0..100 {
        node.send("t", 0, &long(&i.to_string()));
    }
    node.command(Command::retain(Position(SEGMENT_BYTES)));
    assert_eq!(node.bounds("u", 0), (1, 1));
    assert_eq!(node.bounds("u", 0), (1, 1));
    assert_eq!(node.fetch("u", 0, 0).status, FetchStatus::OffsetTooSmall);
    assert_eq!(node.fetch("u", 0, 1).status, FetchStatus::OffsetOverflowOne);
    node.send("u", 0, "another");
    assert_eq!(node.bounds("u", 0), (1, 2));
}

#[test]
fn a_member_put_back_to_the_very_start_replays_to_the_same_state() {
    let node = filled(30);
    let mut again = filled(5);
    again.disk = node.disk.log_only();
    assert_eq!(again.group.machine.restore(LogIndex(0), Position(0), b""), Ok(()));
    assert_eq!(again.group.view.topics().0, []);
    for entry in node.disk.log.entries() {
        again.apply(entry, None);
    }
    assert_eq!(again.group.view.digest(), node.group.view.digest());
}

#[test]
fn a_snapshot_that_does_not_decode_changes_nothing() {
    let mut node = filled(10);
    let before = node.visible();
    assert!(node.group.machine.restore(LogIndex(99), Position(0), b"\xff").is_err());
    assert_eq!(node.visible(), before);
}

#[derive(Debug, Clone)]
enum Step {
    Send { topic: &'static str, queue_id: i32, bytes: usize, messages: usize },
    Apply,
    Create(&'static str),
    Delete(&'static str),
    Retain,
    Restart { derived: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let topic = || prop::sample::select(vec!["t", "u"]);
    prop_oneof![
        8 => (topic(), 0..3, 0..3_000usize, 1..4usize).prop_map(|(topic, queue_id, bytes, messages)| {
            Step::Send { topic, queue_id, bytes, messages }
        }),
        4 => Just(Step::Apply),
        2 => topic().prop_map(Step::Create),
        1 => topic().prop_map(Step::Delete),
        1 => Just(Step::Retain),
        1 => any::<bool>().prop_map(|derived| Step::Restart { derived }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_visible_is_a_function_of_the_log(steps in prop::collection::vec(step(), 1..120)) {
        let mut node = Node::new();
        node.create_topic("t");
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send { topic, queue_id, bytes, messages } => {
                    let one = message(&format!("{i}{}", "x".repeat(bytes)), "", "");
                    node.offer(topic, queue_id, &vec![one; messages]);
                    if i % 3 == 0 {
                        node.sequence();
                    }
                }
                Step::Apply => node.settle(),
                Step::Create(topic) => node.create_topic(topic),
                Step::Delete(topic) => node.command(Command::delete_topic(topic)),
                Step::Retain => {
                    // Snapshots at boundaries are replication's; here the state is kept at the end,
                    // so only what is derived from the log is deleted afterwards.
                    let position = node.disk.log.tail().0 / SEGMENT_BYTES * SEGMENT_BYTES;
                    let tail = node.disk.log.tail();
                    if position > 0 && !tail.0.is_multiple_of(SEGMENT_BYTES) {
                        node.settle();
                        node.command(Command::retain(Position(position)));
                    }
                }
                Step::Restart { derived } => {
                    node.settle();
                    let visible = node.visible();
                    if derived {
                        for name in node.disk.files.names() {
                            node.disk.files.damage(&name, Vec::clear);
                        }
                    }
                    node = node.restart();
                    prop_assert_eq!(node.visible(), visible);
                }
            }
        }
        node.settle();
        let visible = node.visible();
        prop_assert_eq!(node.restart().visible(), visible);
    }
}

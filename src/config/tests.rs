//! What a file may say, what it may not, and what is said back.

use super::ignored::{BROKER_KEYS, NAMESRV_KEYS};
use super::*;

/// A DLedger user's own file, in RocketMQ's manner.
fn dledger_file(member: usize) -> String {
    format!(
        "brokerClusterName = RaftCluster\nbrokerName=RaftNode00\nlistenPort={}\n\
         namesrvAddr=127.0.0.1:9876\nstorePathRootDir=/data/rmqstore/node0{member}\n\
         storePathCommitLog=/data/rmqstore/node0{member}/commitlog\n\
         enableDLegerCommitLog=true\ndLegerGroup=RaftNode00\n\
         dLegerPeers=n0-127.0.0.1:40911;n1-127.0.0.1:40912;n2-127.0.0.1:40913\n\
         ## must be unique\ndLegerSelfId=n{member}\nsendMessageThreadPoolNums=16\n",
        30_911 + 10 * member
    )
}

fn with(lines: &str) -> String {
    format!("{}{lines}\n", dledger_file(0))
}

fn findings(text: &str) -> Vec<Finding> {
    let properties = Properties::parse(text).unwrap();
    BrokerConfig::from_properties(&properties, &Environment::fixed()).unwrap().1
}

#[test]
fn a_dledger_users_files_start_unchanged() {
    for member in 0..3 {
        let config = BrokerConfig::from_text(&dledger_file(member)).unwrap();
        assert_eq!(config.broker_name, "RaftNode00");
        assert_eq!(config.dleger_group, "RaftNode00");
        assert_eq!(config.member_id(), format!("n{member}"));
        assert_eq!(config.raft_id(), member as u64 + 1);
        assert_eq!(config.voters(), [1, 2, 3]);
        assert_eq!(config.follower_broker_id(), member as i64 + 1);
        assert_eq!(usize::from(config.own_peer().port), 40_911 + member);
        assert_eq!(config.flush_disk_type, FlushDiskType::SyncFlush);
        let log = format!("/data/rmqstore/node0{member}/dledger-n{member}");
        assert_eq!(config.store_path_dledger_commit_log, Path::new(&log));
        for finding in findings(&dledger_file(member)) {
            assert!(matches!(finding, Finding::NoEffect { missed: false, .. }), "{finding:?}");
        }
    }
}

#[test]
fn rocketmqs_defaults_hold() {
    let config =
        BrokerConfig::from_text("dLegerGroup=g\ndLegerPeers=n0-localhost:40911\ndLegerSelfId=n0\n")
            .unwrap();
    assert_eq!(config.broker_cluster_name, "DefaultCluster");
    assert_eq!(config.broker_name, "g");
    assert_eq!((config.listen_port, config.broker_permission), (10_911, 6));
    assert_eq!((config.default_topic_queue_nums, config.max_message_size), (8, 4 << 20));
    assert_eq!(config.mapped_file_size_commit_log, 1 << 30);
    assert_eq!((config.file_reserved_time_hours, config.disk_max_used_space_ratio), (72, 75));
    assert!(config.delete_when.contains(4) && !config.delete_when.contains(5));
    assert!(config.auto_create_topic_enable && config.auto_create_subscription_group);
    assert!(config.long_polling_enable);
    assert_eq!(config.register_name_server_period_ms, 30_000);
    assert_eq!((config.max_transfer_bytes, config.max_transfer_count), (262_144, 32));
    assert_eq!(NamesrvConfig::from_text("").unwrap().listen_port, 9876);
}

#[test]
fn every_default_reads_and_lies_in_its_range() {
    let bare = "dLegerGroup=g\ndLegerPeers=n0-localhost:1\ndLegerSelfId=n0\n";
    let broker = BrokerConfig::from_text(bare).unwrap();
    let namesrv = NamesrvConfig::from_text("").unwrap();
    for (spec, value) in broker.effective().into_iter().chain(namesrv.effective()) {
        if let Allowed::Between(least, most) = spec.allowed {
            let number: i64 = value.parse().unwrap();
            assert!((least..=most).contains(&number), "{}", spec.key);
        }
        assert!(spec.meaning.ends_with('.') || spec.meaning.ends_with(')'), "{}", spec.key);
    }
}

#[test]
fn what_is_printed_starts_the_same_broker() {
    let text = with("mappedFileSizeCommitLog=65536\nmaxMessageSize=4096\npreferredLeaderId=n1;n0");
    let config = BrokerConfig::from_text(&text).unwrap();
    for explained in [false, true] {
        let printed = effective(&config.effective(), explained);
        assert_eq!(BrokerConfig::from_text(&printed).unwrap(), config);
    }
    let namesrv = NamesrvConfig::from_text("listenPort=0\nkvConfigPath=C:\\\\x").unwrap();
    let printed = effective(&namesrv.effective(), false);
    assert_eq!(NamesrvConfig::from_text(&printed).unwrap(), namesrv);
}

#[test]
fn a_small_segment_lowers_what_must_fit_into_it() {
    let config = BrokerConfig::from_text(&with("mappedFileSizeCommitLog=65536")).unwrap();
    assert_eq!((config.raft_entry_bytes_max, config.extent_bytes), (16_384, 65_536));
    assert_eq!(config.max_message_size, 16_384);
    let config = BrokerConfig::from_text(&with("memoryBudgetBytes=67108864")).unwrap();
    assert_eq!(config.send_queue_bytes_max, (64 << 20) / 100 * 25);
    let text = with("mapedFileSizeCommitLog=104857600");
    let config = BrokerConfig::from_text(&text).unwrap();
    assert_eq!(config.mapped_file_size_commit_log, 104_857_600);
    assert_eq!(config.extent_bytes, 52_428_800);
}

#[test]
fn disk_ratios_that_are_not_written_follow_those_that_are() {
    let cases = [
        ("", (75, 85, 90)),
        ("diskMaxUsedSpaceRatio=95", (95, 95, 99)),
        ("diskMaxUsedSpaceRatio=88", (88, 88, 90)),
        ("diskMaxUsedSpaceRatio=95\ndiskSpaceWarningLevelRatio=97", (95, 95, 97)),
        ("diskSpaceCleanForciblyRatio=60", (60, 60, 90)),
        ("diskSpaceWarningLevelRatio=50", (50, 50, 50)),
        ("diskMaxUsedSpaceRatio=40\ndiskSpaceWarningLevelRatio=70", (40, 70, 70)),
    ];
    for (lines, expected) in cases {
        let config = BrokerConfig::from_text(&with(lines)).unwrap();
        let ratios = (
            config.disk_max_used_space_ratio,
            config.disk_space_clean_forcibly_ratio,
            config.disk_space_warning_level_ratio,
        );
        assert_eq!(ratios, expected, "{lines}");
    }
}

#[test]
fn the_memory_budget_is_divided_and_never_exceeded() {
    let lines = [
        "",
        "memoryBudgetBytes=33554432",
        "memoryBudgetBytes=1073741824\nsendQueueBytesMax=400000000",
        "sendQueueBytesMax=400000000",
        "sendQueueBytesMax=10000000",
        "maxMessageSize=134217728",
        "mappedFileSizeCommitLog=65536",
        "dLegerPeers=n0-a:1;n1-a:2;n2-a:3;n3-a:4;n4-a:5",
        "dLegerPeers=n0-a:1",
    ];
    for lines in lines {
        let config = BrokerConfig::from_text(&with(lines)).unwrap();
        let shares = config.memory_shares();
        let others = config.dleger_peers.len() - 1;
        let sum = shares.waiting_bytes
            + shares.uncommitted_bytes
            + shares.unapplied_bytes
            + shares.peer_queue_bytes * others;
        assert!(sum <= config.memory_budget_bytes, "{lines}: {shares:?}");
        let unused = if others == 0 { 2 } else { 20 };
        assert!(sum > config.memory_budget_bytes / 100 * (100 / unused), "{lines}: {shares:?}");
        assert!(shares.entry_bytes_max <= shares.uncommitted_bytes, "{lines}: {shares:?}");
        let largest = (config.max_message_size + 4096).min(16 << 20);
        assert!(shares.entry_bytes_max >= largest, "{lines}: {shares:?}");
        let in_flight = shares.append_bytes * shares.appends_in_flight;
        assert!(in_flight <= shares.peer_queue_bytes, "{lines}: {shares:?}");
    }
    let shares = BrokerConfig::from_text(&with("")).unwrap().memory_shares();
    let mib = |bytes: usize| (bytes + (1 << 19)) >> 20;
    assert_eq!((mib(shares.waiting_bytes), mib(shares.uncommitted_bytes)), (64, 64));
    assert_eq!((mib(shares.unapplied_bytes), mib(shares.peer_queue_bytes)), (64, 32));
}

#[test]
fn mistakes_name_key_value_and_fix() {
    let cases: &[(&str, &[&str])] = &[
        ("enableDLegerCommitLog=false", &["enableDLegerCommitLog=false", "set it to true"]),
        ("dLegerSelfId=n7", &["dLegerSelfId=n7", "not a member", "n2-127.0.0.1:40913"]),
        ("dLegerSelfId=", &["dLegerSelfId is missing", "dLegerSelfId=n0"]),
        ("dLegerPeers=", &["dLegerPeers is missing", "n0-127.0.0.1:40911"]),
        ("dLegerPeers=n0-a:1;n0-b:2", &["dLegerPeers=", "n0 and n0 have the same number"]),
        ("dLegerPeers=n0-a:1;x0-b:2", &["n0 and x0 have the same number"]),
        ("dLegerPeers=n0-a:1;n1-a:1", &["n0 and n1 have the address a:1"]),
        ("dLegerPeers=n0-a:1;n1-a:100000", &["dLegerPeers=", "`n1-a:100000` is not of that form"]),
        ("brokerClusterName=my cluster", &["brokerClusterName=my cluster", "white space"]),
        ("listenPort=70000", &["listenPort=70000", "from 0 to 65535"]),
        ("listenPort=-1", &["listenPort=-1"]),
        ("listenPort=1e4", &["listenPort=1e4", "a whole number"]),
        ("listenPort=40911", &["listenPort=40911", "port in dLegerPeers"]),
        ("namesrvAddr=localhost", &["namesrvAddr=localhost", "host:port"]),
        ("brokerPermission=9", &["brokerPermission=9", "from 0 to 7"]),
        ("flushDiskType=FAST", &["flushDiskType=FAST", "SYNC_FLUSH or ASYNC_FLUSH"]),
        ("longPollingEnable=yes", &["longPollingEnable=yes", "true or false"]),
        ("deleteWhen=25", &["deleteWhen=25", "00 to 23"]),
        ("maxMessageSize=2000000000", &["maxMessageSize=2000000000", "134217728 bytes"]),
        ("mappedFileSizeCommitLog=1000", &["mappedFileSizeCommitLog=1000", "65536"]),
        ("mappedFileSizeCommitLog=1000001", &["multiple of 4096"]),
        (
            "mappedFileSizeCommitLog=65536\nmaxMessageSize=65536",
            &["mappedFileSizeCommitLog=65536", "maxMessageSize=65536 does not fit", "at least"],
        ),
        ("dLegerGroup=", &["dLegerGroup is missing", "dLegerGroup=RaftNode00"]),
        ("raftEntryBytesMax=60000000\nmappedFileSizeCommitLog=67108864", &["raftEntryBytesMax"]),
        ("extentBytes=20000", &["extentBytes=20000", "divides the segment"]),
        (
            "raftElectionTimeoutMs=100",
            &["raftHeartbeatIntervalMs=100", "raftElectionTimeoutMs=100"],
        ),
        ("watchdogTimeoutMs=20", &["watchdogTimeoutMs=20", "at least 100"]),
        (
            "diskMaxUsedSpaceRatio=95\ndiskSpaceCleanForciblyRatio=85",
            &["diskSpaceCleanForciblyRatio=85", "below diskMaxUsedSpaceRatio=95", "must rise"],
        ),
        (
            "diskMaxUsedSpaceRatio=80\ndiskSpaceWarningLevelRatio=70",
            &["diskSpaceWarningLevelRatio=70", "below diskMaxUsedSpaceRatio=80"],
        ),
        ("sendQueueBytesMax=65536", &["sendQueueBytesMax=65536", "maxMessageSize"]),
        (
            "memoryBudgetBytes=33554432\nsendQueueBytesMax=30000000",
            &["sendQueueBytesMax=30000000", "memoryBudgetBytes=33554432", "half of the budget"],
        ),
        (
            "memoryBudgetBytes=33554432\nmaxMessageSize=10000000",
            &["memoryBudgetBytes=33554432", "does not hold an entry", "maxMessageSize"],
        ),
        ("preferredLeaderId=n9", &["preferredLeaderId=n9", "members of the group"]),
        ("aclEnable=true", &["aclEnable=true", "does not check who may do what"]),
        ("authenticationEnabled=TRUE", &["authenticationEnabled=true"]),
        ("enableControllerMode=true", &["enableControllerMode=true", "elects its leader itself"]),
        ("x=\\u12", &["four hexadecimal digits"]),
    ];
    for (line, expected) in cases {
        let error = BrokerConfig::from_text(&with(line)).unwrap_err().to_string();
        for part in *expected {
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}

#[test]
fn a_plain_rocketmq_file_is_told_what_to_add() {
    let text = "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\n\
                deleteWhen = 04\nfileReservedTime = 48\nbrokerRole = ASYNC_MASTER\n\
                flushDiskType = ASYNC_FLUSH\n";
    let error = BrokerConfig::from_text(text).unwrap_err().to_string();
    assert!(error.contains("dLegerGroup is missing"), "{error}");
    let text = format!("{text}dLegerGroup = broker-a\n");
    let error = BrokerConfig::from_text(&text).unwrap_err().to_string();
    assert!(error.contains("dLegerPeers is missing"), "{error}");
}

#[test]
fn keys_are_told_apart() {
    let text = with("brokerRole=SLAVE\ntimerWheelEnable=true\nbrokrName=x\nfrobnicate=1\na=1\na=2");
    let found = findings(&text);
    let of = |wanted: &str| {
        found.iter().find(|finding| match finding {
            Finding::Unknown { key, .. } | Finding::NoEffect { key, .. } => key == wanted,
            _ => false,
        })
    };
    assert!(matches!(of("brokerRole"), Some(Finding::NoEffect { missed: false, .. })));
    assert!(matches!(of("timerWheelEnable"), Some(Finding::NoEffect { missed: true, .. })));
    assert!(matches!(of("brokrName"), Some(Finding::Unknown { similar: Some("brokerName"), .. })));
    assert!(matches!(of("frobnicate"), Some(Finding::Unknown { similar: None, .. })));
    assert!(found.contains(&Finding::Duplicate { key: "a".to_owned() }));
    assert!(matches!(findings(&with("brokerName=b"))[..], [.., Finding::NamesDiffer { .. }]));
}

#[test]
fn the_environment_fills_in_what_the_file_leaves_out() {
    let environment = Environment {
        host_name: "host".to_owned(),
        ip: "10.0.0.9".to_owned(),
        home: "/home/mq".into(),
        namesrv_addr: "ns1:9876;ns2:9876".to_owned(),
    };
    let text = "dLegerGroup=g\ndLegerPeers=n3-10.0.0.9:40911\ndLegerSelfId=n3\n";
    let properties = Properties::parse(text).unwrap();
    let (config, _) = BrokerConfig::from_properties(&properties, &environment).unwrap();
    assert_eq!(config.namesrv_addr, ["ns1:9876", "ns2:9876"]);
    assert_eq!(config.broker_ip1, "10.0.0.9");
    assert_eq!(config.store_path_root_dir, Path::new("/home/mq/store"));
}

#[test]
fn no_key_is_both_effective_and_without_effect() {
    let tables = [(BrokerConfig::KEYS, BROKER_KEYS), (NamesrvConfig::KEYS, NAMESRV_KEYS)];
    for (known, ignored) in tables {
        let mut seen = std::collections::BTreeSet::new();
        let effective = known.iter().flat_map(KeySpec::names);
        let without = ignored.iter().flat_map(|group| group.keys.iter().copied());
        for key in effective.chain(without) {
            assert!(seen.insert(key), "{key} twice");
        }
    }
}

#[test]
fn every_documented_key_is_read_by_code() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let tables = ["config/broker.rs", "config/namesrv.rs", "config/tests.rs"];
    let files = files_below(&source);
    let code = files.iter().filter(|path| !tables.iter().any(|table| path.ends_with(table)));
    let code: String = code.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    for spec in BrokerConfig::KEYS.iter().chain(NamesrvConfig::KEYS) {
        let access = format!(".{}", spec.field);
        let read = code.match_indices(&access).any(|(at, _)| ends(&code[at + access.len()..]));
        assert!(read, "{} is documented, but nothing reads {}", spec.key, spec.field);
    }
}

#[test]
fn important_keys_exist() {
    for key in IMPORTANT_KEYS {
        assert!(BrokerConfig::KEYS.iter().any(|spec| spec.key == *key), "{key}");
    }
}

#[test]
fn brokers_of_one_process_share_nothing() {
    let broker = |text: &str| BrokerConfig::from_text(text).unwrap();
    let one = ("one".to_owned(), broker(&dledger_file(0)));
    let other = ("two".to_owned(), broker(&dledger_file(1)));
    assert!(check_together(&[one.clone(), other]).is_ok());
    for (line, key) in [
        ("listenPort=30911", "listenPort"),
        ("storePathRootDir=/data/rmqstore/node00", "storePathRootDir"),
        ("dLegerPeers=n1-127.0.0.1:40911", "dLegerPeers"),
    ] {
        let text = format!("{}{line}\n", dledger_file(1));
        let pair = [one.clone(), ("two".to_owned(), broker(&text))];
        let error = check_together(&pair).unwrap_err().to_string();
        assert!(error.contains(key) && error.contains("one has the same"), "{error}");
    }
}

fn conf() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf")
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    directories.iter().flat_map(|inner| files_below(inner)).chain(files).collect()
}

#[test]
fn every_sample_file_reads_without_a_remark() {
    let mut brokers = 0;
    for path in files_below(&conf()) {
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let properties = Properties::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let found = if name.starts_with("namesrv") {
            NamesrvConfig::from_properties(&properties, &Environment::fixed()).unwrap().1
        } else if name == "broker-reference.conf" {
            assert_eq!(properties, Properties::default());
            continue;
        } else {
            brokers += 1;
            BrokerConfig::from_properties(&properties, &Environment::fixed()).unwrap().1
        };
        assert_eq!(found, [], "{}", path.display());
    }
    assert_eq!(brokers, 3 + 9);
}

#[test]
fn three_nodes_times_three_groups_fit_together() {
    let mut leaders = Vec::new();
    for node in 0..3 {
        let load = |group: &str| {
            let path = conf().join(format!("3n-3g/node{node}/broker-{group}.conf"));
            (path.display().to_string(), BrokerConfig::load(&path, &[]).unwrap())
        };
        let brokers = ["a", "b", "c"].map(load);
        check_together(&brokers).unwrap();
        for (_, config) in &brokers {
            assert_eq!(config.member_id(), format!("n{node}"));
            leaders.push((config.broker_name.clone(), config.preferred_leader_id.clone()));
        }
    }
    leaders.sort_by(|one, other| one.0.cmp(&other.0));
    leaders.dedup();
    let distinct: std::collections::BTreeSet<_> =
        leaders.iter().map(|(_, leader)| leader.0.clone()).collect();
    assert_eq!((leaders.len(), distinct.len()), (3, 3), "each group prefers another node");
}

#[test]
fn the_reference_files_are_what_the_table_says() {
    let cases = [
        ("broker-reference.conf", reference("Every key of a broker", BrokerConfig::KEYS)),
        ("namesrv-reference.conf", reference("Every key of a name server", NamesrvConfig::KEYS)),
    ];
    for (name, text) in cases {
        let path = conf().join(name);
        if std::env::var_os("RAFTMQ_WRITE_REFERENCE").is_some() {
            // The one test that may write into the source tree, and only when told to.
            #[allow(clippy::disallowed_methods)]
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            committed, text,
            "{name} is out of date: run the tests with RAFTMQ_WRITE_REFERENCE=1 and commit it"
        );
    }
}

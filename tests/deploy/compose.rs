//! The compose file: a name server and a group whose configurations, ports, volumes and health checks
//! fit together.

use std::collections::BTreeSet;

use yaml_rust2::Yaml;

use super::program::{self, InForce, check_group, raft_port, store};
use super::yaml::{at, check_keys, documents, keys, list, number, text, texts};
use super::{Problems, STOP_SECONDS_MIN, expect, root};

const SERVICES: [&str; 4] = ["namesrv", "broker-0", "broker-1", "broker-2"];
const IMAGE: &str = concat!("raftmq:", env!("CARGO_PKG_VERSION"));
const TOP_KEYS: &str = "name x-broker services volumes configs";
const SERVICE_KEYS: &str = "\
    << image build context dockerfile depends_on namesrv condition restart stop_grace_period \
    cap_drop security_opt ulimits healthcheck test interval timeout retries start_period \
    start_interval hostname command configs source target volumes ports";

pub fn check(file: &str) -> Problems {
    let mut problems = Problems::new();
    let documents = documents(file, &mut problems);
    let [document] = &documents[..] else {
        problems.push("not one document".to_owned());
        return problems;
    };
    for key in document.as_hash().into_iter().flat_map(|top| top.keys()).filter_map(Yaml::as_str) {
        expect(&mut problems, TOP_KEYS.split(' ').any(|known| known == key), || {
            format!("{key}: unknown")
        });
    }
    let services = keys(document, "services");
    expect(&mut problems, services == SERVICES, || format!("the services are {services:?}"));
    let mut in_force = Vec::new();
    let mut volumes = BTreeSet::new();
    for name in SERVICES {
        let service = at(document, &format!("services/{name}"));
        check_keys(service, SERVICE_KEYS, &mut problems);
        let mut own = Problems::new();
        in_force.extend(check_service(document, service, &mut volumes, &mut own));
        problems.extend(own.into_iter().map(|problem| format!("{name}: {problem}")));
    }
    expect(&mut problems, volumes.len() == SERVICES.len(), || format!("volumes: {volumes:?}"));
    let Some((namesrv, brokers)) = in_force.split_first() else { return problems };
    let hosts = SERVICES[1..].iter().map(|host| host.to_string()).collect::<Vec<_>>();
    let address = format!("namesrv:{}", namesrv["listenPort"]);
    check_group(&mut problems, brokers, &hosts, &[address]);
    check_ports(document, namesrv, brokers, &mut problems);
    let build = at(document, "services/namesrv/build");
    let context = root().join("conf/deploy").join(text(build, "context"));
    let there = context.join("Cargo.toml").exists()
        && context.join(text(build, "dockerfile")).is_file()
        && !text(build, "dockerfile").is_empty();
    expect(&mut problems, there, || format!("build: {build:?}"));
    problems
}

/// One service by itself; gives what it runs with.
fn check_service(
    document: &Yaml,
    service: &Yaml,
    volumes: &mut BTreeSet<String>,
    problems: &mut Problems,
) -> Option<InForce> {
    expect(problems, text(service, "image") == IMAGE, || format!("the image is not {IMAGE}"));
    let restart = text(service, "restart");
    expect(problems, restart.starts_with("on-failure"), || format!("restart: {restart}"));
    let stop = text(service, "stop_grace_period").strip_suffix('s').map(str::parse::<i64>);
    let enough = matches!(stop, Some(Ok(seconds)) if seconds >= STOP_SECONDS_MIN);
    expect(problems, enough, || format!("stop_grace_period: {stop:?}"));
    let command = texts(service, "command");
    let target = text(service, "configs/0/target");
    expect(problems, command.contains(&target) && !target.is_empty(), || {
        format!("{command:?} does not read {target}")
    });
    let source = text(service, "configs/0/source");
    let content = text(document, &format!("configs/{source}/content"));
    let in_force = match program::text_in_force(&command, content) {
        Ok(in_force) => in_force,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    let (volume, path) = text(service, "volumes/0").split_once(':').unwrap_or_default();
    expect(problems, keys(document, "volumes").contains(&volume), || format!("no {volume}"));
    volumes.insert(volume.to_owned());
    let kept = store(&in_force);
    expect(problems, kept.starts_with(&format!("{path}/")), || format!("{kept} is not in {path}"));
    Some(in_force)
}

fn check_ports(document: &Yaml, namesrv: &InForce, brokers: &[InForce], problems: &mut Problems) {
    let port = &namesrv["listenPort"];
    let published = texts(document, "services/namesrv/ports");
    expect(problems, published == [format!("{port}:{port}")], || format!("ports: {published:?}"));
    let asked = test_of(document, "namesrv").join(" ");
    expect(problems, asked.ends_with(&format!("127.0.0.1:{port}")), || format!("asks: {asked}"));
    for (name, broker) in SERVICES[1..].iter().zip(brokers) {
        let asked = test_of(document, name).join(" ");
        let port = format!("/127.0.0.1/{} ", broker["metricsPromExporterPort"]);
        let right = asked.contains(&port) && asked.contains("GET /ready HTTP");
        expect(problems, right, || format!("{name} asks: {asked}"));
        let distinct: BTreeSet<_> =
            [broker["listenPort"].clone(), raft_port(broker), port].into_iter().collect();
        expect(problems, distinct.len() == 3, || format!("{name}: {distinct:?}"));
        let awaited = text(document, &format!("services/{name}/depends_on/namesrv/condition"));
        expect(problems, awaited == "service_healthy", || format!("{name} awaits {awaited}"));
        let hostname = text(document, &format!("services/{name}/hostname"));
        expect(problems, hostname == *name, || format!("{name} is called {hostname}"));
        let retries = number(document, &format!("services/{name}/healthcheck/retries"));
        expect(problems, retries > 0, || format!("{name}: {retries} retries"));
    }
}

fn test_of(document: &Yaml, name: &str) -> Vec<String> {
    let test = list(document, &format!("services/{name}/healthcheck/test"));
    // Compose reads `$$` as `$`.
    let words = test.iter().filter_map(Yaml::as_str).map(|word| word.replace("$$", "$"));
    words.collect()
}

/// What is run in the name server's and in a broker's container.
pub fn health_checks(file: &str) -> [Vec<String>; 2] {
    let documents = documents(file, &mut Problems::new());
    ["namesrv", "broker-2"].map(|name| {
        let words = test_of(&documents[0], name);
        assert_eq!(words[0], "CMD", "{name}");
        words[1..].to_vec()
    })
}
